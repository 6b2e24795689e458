#!/usr/bin/env python3
"""Boots a real single-node Kubernetes cluster on this machine, and removes it again.

python3 tests/cluster/cluster.py up | down | status
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

from boot import components, image, lifecycle
from boot.command import ClusterError, say, step
from boot.layout import Layout, default_layout


def parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    commands = top.add_subparsers(dest="command", required=True)
    commands.add_parser("build", help="install and build what is missing, boot nothing")
    commands.add_parser("up", help="build what is missing, boot, print KUBECONFIG")
    commands.add_parser("down", help="remove the cluster; what was built stays cached")
    commands.add_parser("status", help="say which components run; exit code 1 if one does not")
    imports = commands.add_parser("import", help="give the cluster a container image")
    imports.add_argument("archive", type=Path, help="docker or OCI archive, such as buildah's")
    one = commands.add_parser("component", help="stop or start a single component")
    one.add_argument("action", choices=("start", "stop"))
    one.add_argument("name", help=", ".join(one.name for one in components.COMPONENTS))
    return top


def execute(arguments: argparse.Namespace, layout: Layout) -> int:
    if arguments.command in ("build", "up", "down"):
        with lifecycle.exclusive(layout), step(f"cluster {arguments.command}"):
            if arguments.command == "build":
                lifecycle.fetch(layout)
            elif arguments.command == "up":
                lifecycle.up(layout, keep=True)
            else:
                lifecycle.down(layout)
        if arguments.command == "up":
            say(f"export KUBECONFIG={layout.admin_kubeconfig}")
    elif arguments.command == "status":
        say(lifecycle.status(layout))
        return 0 if lifecycle.is_up(layout) else 1
    elif arguments.command == "import":
        image.import_archive(layout, arguments.archive)
    elif arguments.command == "component":
        one = components.component(arguments.name)
        if arguments.action == "stop":
            components.stop(layout, one)
        else:
            components.start(layout, one)
            components.wait(layout, one)
    return 0


def main() -> int:
    top = parser()
    arguments = top.parse_args()
    if arguments.command not in ("build", "status") and os.geteuid() != 0:
        top.exit(2, "error: needs root: it makes namespaces, mounts and control groups\n")
    layout = default_layout()
    try:
        return execute(arguments, layout)
    except ClusterError as error:
        top.exit(2, f"error: {error}\n")


if __name__ == "__main__":
    sys.exit(main())
