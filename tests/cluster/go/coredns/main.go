// Command coredns is CoreDNS with only the plugins that a cluster's DNS needs.
//
// CoreDNS' own main also registers the plugins of several cloud providers. Their SDKs would more
// than double the modules that are downloaded and compiled, for code that must never run here.
package main

import (
	_ "github.com/coredns/coredns/plugin/bind"
	_ "github.com/coredns/coredns/plugin/cache"
	_ "github.com/coredns/coredns/plugin/errors"
	_ "github.com/coredns/coredns/plugin/kubernetes"
	_ "github.com/coredns/coredns/plugin/ready"
	_ "github.com/coredns/coredns/plugin/template"

	"github.com/coredns/coredns/coremain"
)

func main() {
	coremain.Run()
}
