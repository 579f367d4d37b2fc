// Command etcd is etcd as its own module has it; the module's main package lies in another one, which replaces its parts by path.
package main

import (
	"os"

	"go.etcd.io/etcd/server/v3/etcdmain"
)

func main() { etcdmain.Main(os.Args) }
