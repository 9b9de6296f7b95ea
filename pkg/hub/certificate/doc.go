// Package certificate makes keys and certificates for what the hub manager serves: a CA of its own, and what that signs.
//
// Packages guard (the webhook) and kubelet (logs of mirrored pods) call it and keep the Secrets. It reads and writes no object, and trusts
// nobody: what is served and to whom is theirs to decide.
package certificate
