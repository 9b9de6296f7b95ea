// Package sidebyside runs the tests of one package in several processes of its test program. TestMain of test/integration and test/chaos calls it:
// their tests share API servers and so run one after the other, and wait most of the time. Each process has API servers of its own.
//
// It must not be used where processes would get into each other's way, as test/e2e's would.
package sidebyside
