package images

import "strings"

const (
	dockerHost   = "docker.io/"
	dockerPrefix = "library/"
	latest       = ":latest"
)

// aliases returns every way to write a ref that means the same image: with and without :latest, docker.io/ and library/.
func aliases(ref string) []string {
	short := shorten(ref)
	names := []string{short}
	if host, _, found := strings.Cut(short, "/"); !found || !strings.ContainsAny(host, ".:") && host != "localhost" {
		if !found {
			names = append(names, dockerPrefix+short, dockerHost+short)
			short = dockerPrefix + short
		}
		names = append(names, dockerHost+short)
	}
	all := names
	for _, name := range names {
		if tagged, ok := strings.CutSuffix(name, latest); ok {
			all = append(all, tagged)
		}
	}
	return all
}

// shorten returns the shortest way to write a ref, with its tag.
func shorten(ref string) string {
	ref = strings.TrimPrefix(ref, dockerHost)
	ref = strings.TrimPrefix(ref, dockerPrefix)
	if !strings.Contains(ref[strings.LastIndex(ref, "/")+1:], ":") {
		ref += latest
	}
	return ref
}

func sameRef(a, b string) bool { return shorten(a) == shorten(b) }
