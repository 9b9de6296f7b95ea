// Package components builds, or finds in the cache, every program that a local fleet of real clusters needs, on a Debian
// 12 machine that has Go, git, make, npm and apt, and no Docker: Kubernetes, etcd, MinIO, CoreDNS and Argo (with its UI)
// from their Go modules, containerd, runc, the CNI plugins, iptables and Python from Debian's packages.
//
// hack/fleet calls Ensure before it starts anything, and hack/fleet/images takes the files it names. What is built is
// kept outside the work tree (CacheDir), one directory per part whose name says version and recipe, so that a second run
// builds nothing. Nothing is installed: Debian's packages are unpacked into the cache.
//
// The package starts no part of a fleet, changes nothing on the machine outside the caches, and must not be imported by
// anything but hack and tests.
package components
