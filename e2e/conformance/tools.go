//go:build tools

// Package conformance names the programs of Kubernetes' conformance suite and of its images, so that go.mod and go.sum hold
// all that building them needs. tools/conformance builds them by package name.
package conformance

import (
	_ "github.com/onsi/ginkgo/v2/ginkgo"
	_ "go.etcd.io/etcd/server/v3"
	_ "k8s.io/kubernetes/test/e2e"
	_ "k8s.io/kubernetes/test/images/agnhost"
	_ "k8s.io/kubernetes/test/images/nonewprivs"
	_ "k8s.io/sample-apiserver"
)
