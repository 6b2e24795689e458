"""The local runtime: a Plan as supervised child processes on one machine."""
