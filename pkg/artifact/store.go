package artifact

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/minio/minio-go/v7/pkg/s3utils"
	"k8s.io/apimachinery/pkg/util/validation"

	"stellarflow.io/stellarflow/pkg/apis/stellarflow"
)

// Keys of a Secret's data that hold a Store.
const (
	KeyEndpoint  = "endpoint"
	KeyBucket    = "bucket"
	KeyRegion    = "region"
	KeyInsecure  = "insecure"
	KeyAccessKey = "accesskey"
	KeySecretKey = "secretkey"
)

// envKeys maps the names that an env file uses to the keys of a Secret.
var envKeys = map[string]string{
	"MINIO_ENDPOINT":   KeyEndpoint,
	"MINIO_BUCKET":     KeyBucket,
	"MINIO_REGION":     KeyRegion,
	"MINIO_INSECURE":   KeyInsecure,
	"MINIO_ACCESS_KEY": KeyAccessKey,
	"MINIO_SECRET_KEY": KeySecretKey,
}

// Store is an S3 bucket that every cluster reaches under one address, and the credentials for it.
type Store struct {
	// Endpoint is host:port, or host alone for the protocol's own port; no scheme, no path.
	Endpoint string
	// Bucket is the bucket's name.
	Bucket string
	// Region may be empty: MinIO needs none.
	Region string
	// Insecure means http instead of https.
	Insecure bool
	// AccessKey and SecretKey are the credentials.
	AccessKey, SecretKey string
}

// String describes the store without its credentials.
func (s Store) String() string {
	scheme := "https"
	if s.Insecure {
		scheme = "http"
	}
	return fmt.Sprintf("%s://%s/%s", scheme, s.Endpoint, s.Bucket)
}

// GoString is String, so that %#v shows no credential either.
func (s Store) GoString() string { return s.String() }

// Host is the endpoint without its port.
func (s Store) Host() string {
	host, _, err := net.SplitHostPort(s.Endpoint)
	if err != nil {
		return strings.Trim(s.Endpoint, "[]")
	}
	return host
}

// ParseStore reads a Store from a Secret's data. The error names every key that is wrong, its value unless it is a
// credential, and what to do.
func ParseStore(data map[string][]byte) (Store, error) {
	return parse(data, func(key string) string { return key })
}

// ParseEnv reads a Store from lines of NAME=value with the names MINIO_ENDPOINT, MINIO_BUCKET, MINIO_ACCESS_KEY,
// MINIO_SECRET_KEY and, if needed, MINIO_REGION and MINIO_INSECURE. Empty lines and lines that begin with # are skipped;
// a value may stand in single or double quotes.
func ParseEnv(raw []byte) (Store, error) {
	data := map[string][]byte{}
	lines := bufio.NewScanner(bytes.NewReader(bytes.TrimPrefix(raw, []byte("\ufeff")))) // editors on Windows begin files so
	number := 1
	for ; lines.Scan(); number++ {
		line := strings.TrimSpace(strings.TrimPrefix(strings.TrimSpace(lines.Text()), "export "))
		if line == "" || strings.HasPrefix(line, "#") {
			continue
		}
		name, value, found := strings.Cut(line, "=")
		if !found { // the line itself is not shown: it may hold a credential
			return Store{}, fmt.Errorf("line %d is not NAME=value: write one setting a line, for example MINIO_BUCKET=workflows", number)
		}
		name = strings.TrimSpace(name)
		key, known := envKeys[name]
		if !known {
			return Store{}, fmt.Errorf("line %d: %s: the names are %s", number, unknownName(name, value), strings.Join(envNames(), ", "))
		}
		if _, twice := data[key]; twice {
			return Store{}, fmt.Errorf("line %d: %s is set twice: keep one of the lines", number, name)
		}
		unquoted, ok := unquote(strings.TrimSpace(value))
		if !ok {
			return Store{}, fmt.Errorf("line %d: the value of %s has a quote at one end only: put one at both ends or at none", number, name)
		}
		data[key] = []byte(unquoted)
	}
	if err := lines.Err(); err != nil {
		return Store{}, fmt.Errorf("line %d cannot be read (%w): write one setting a line, for example MINIO_BUCKET=workflows", number, err)
	}
	return parse(data, envName)
}

// CredentialsSum tells whether two stores have the same credentials. It is a plain SHA-256, from which bad credentials can be
// guessed: keep it where the credentials may be kept too.
func (s Store) CredentialsSum() string {
	sum := sha256.Sum256([]byte(s.AccessKey + "\x00" + s.SecretKey)) // no credential holds a control character
	return hex.EncodeToString(sum[:])
}

// Data is the inverse of ParseStore.
func (s Store) Data() map[string][]byte {
	data := map[string][]byte{
		KeyEndpoint:  []byte(s.Endpoint),
		KeyBucket:    []byte(s.Bucket),
		KeyInsecure:  []byte(strconv.FormatBool(s.Insecure)),
		KeyAccessKey: []byte(s.AccessKey),
		KeySecretKey: []byte(s.SecretKey),
	}
	if s.Region != "" {
		data[KeyRegion] = []byte(s.Region)
	}
	return data
}

// parse reads the keys of a Secret; name gives the name under which a key is known where it was read from.
func parse(data map[string][]byte, name func(string) string) (Store, error) {
	var problems []string
	value := func(key string) string { return strings.TrimSpace(string(data[key])) }
	store := Store{
		Endpoint: value(KeyEndpoint), Bucket: value(KeyBucket), Region: value(KeyRegion),
		AccessKey: value(KeyAccessKey), SecretKey: value(KeySecretKey),
	}
	for _, problem := range []string{
		checkEndpoint(store.Endpoint, name), checkBucket(store.Bucket, name), checkRegion(store.Region, name),
		checkCredential(KeyAccessKey, store.AccessKey, name), checkCredential(KeySecretKey, store.SecretKey, name),
	} {
		if problem != "" {
			problems = append(problems, problem)
		}
	}
	if raw := value(KeyInsecure); raw != "" {
		insecure, err := strconv.ParseBool(raw)
		if err != nil {
			problems = append(problems, fmt.Sprintf("%s %s is neither true nor false: write true for http, false for https", name(KeyInsecure), shorten(raw)))
		}
		store.Insecure = insecure
	}
	for key := range data {
		if !slices.Contains([]string{KeyEndpoint, KeyBucket, KeyRegion, KeyInsecure, KeyAccessKey, KeySecretKey}, key) {
			problems = append(problems, fmt.Sprintf("unknown key %q: remove it", key))
		}
	}
	if len(problems) > 0 {
		slices.Sort(problems)
		return Store{}, fmt.Errorf("artifact store: %s", strings.Join(problems, "; "))
	}
	return store, nil
}

// checkEndpoint says what is wrong with an endpoint, or nothing.
func checkEndpoint(endpoint string, name func(string) string) string {
	key, shown := name(KeyEndpoint), shorten(endpoint)
	switch {
	case endpoint == "":
		return key + " is missing: set it to the host:port of the S3 server"
	case strings.Contains(endpoint, "@"): // what stands before it may be a password
		return key + " holds a user: write host:port, and the credentials in " + name(KeyAccessKey) + " and " + name(KeySecretKey)
	case strings.HasPrefix(endpoint, "http://"):
		return fmt.Sprintf("%s %s has a scheme: write host:port and set %s to true", key, shown, name(KeyInsecure))
	case strings.Contains(endpoint, "://"):
		return fmt.Sprintf("%s %s has a scheme: write host:port", key, shown)
	case strings.ContainsAny(endpoint, "/?# "):
		return fmt.Sprintf("%s %s is not host:port: no path, user or blank belongs there", key, shown)
	}
	host, port := Store{Endpoint: endpoint}.Host(), ""
	if _, p, err := net.SplitHostPort(endpoint); err == nil {
		port = p
		if n, err := strconv.Atoi(port); err != nil || n < 1 || n > 65535 {
			return fmt.Sprintf("%s %s has no port from 1 to 65535: write host:port", key, shown)
		}
	}
	if strings.Contains(host, ":") && !strings.HasPrefix(endpoint, "[") {
		return fmt.Sprintf("%s %s: write an IPv6 address in brackets, [address]:port", key, shown)
	}
	if net.ParseIP(host) == nil && len(validation.IsDNS1123Subdomain(strings.ToLower(host))) > 0 {
		return fmt.Sprintf("%s %s has no host name or address before the port: write host:port", key, shown)
	}
	return ""
}

// checkBucket says what is wrong with a bucket's name, or nothing.
func checkBucket(bucket string, name func(string) string) string {
	if bucket == "" {
		return name(KeyBucket) + " is missing: set it to the name of the bucket for artifacts and logs"
	}
	if err := s3utils.CheckValidBucketNameStrict(bucket); err != nil {
		return fmt.Sprintf("%s %s is no bucket name (%v): use 3 to 63 lower case letters, digits and dashes", name(KeyBucket), shorten(bucket), err)
	}
	return ""
}

// checkRegion says what is wrong with a region, or nothing. Servers of one's own have regions of any name.
func checkRegion(region string, name func(string) string) string {
	if len(region) > maxShown || strings.ContainsFunc(region, func(r rune) bool { return r <= ' ' || r > '~' }) {
		return fmt.Sprintf("%s %s is no region: write its name, such as eu-central-1, or leave it out", name(KeyRegion), shorten(region))
	}
	return ""
}

// checkCredential says what is wrong with a credential, or nothing; it is not shown.
func checkCredential(key, credential string, name func(string) string) string {
	switch {
	case credential == "":
		return name(key) + " is missing: set it to the credential of a user that may read and write the bucket"
	case strings.ContainsFunc(credential, func(r rune) bool { return r < ' ' || r == 0x7f || r == utf8.RuneError }):
		return name(key) + " holds a line break, a control character or bytes that are no text: set it to the credential alone"
	}
	return ""
}

// maxShown is how many characters of a value a message quotes.
const maxShown = 64

// shorten quotes a value, cut if it is long.
func shorten(value string) string { return stellarflow.Quote(value, maxShown) }

// unknownName says that a line sets nothing known. A name that nothing is set to may be a credential that ends in =.
func unknownName(name, value string) string {
	if strings.Trim(value, "= ") == "" || len(name) > maxShown {
		return "it sets nothing that is known"
	}
	return fmt.Sprintf("unknown name %q", name)
}

// envName is the name that an env file uses for a key.
func envName(key string) string {
	for name, k := range envKeys {
		if k == key {
			return name
		}
	}
	return key
}

func envNames() []string {
	names := make([]string, 0, len(envKeys))
	for name := range envKeys {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// unquote takes the quotes off a value; it is false if they are at one end only.
func unquote(value string) (string, bool) {
	const quotes = "\"'"
	if len(value) >= 2 && strings.ContainsRune(quotes, rune(value[0])) && value[len(value)-1] == value[0] {
		return value[1 : len(value)-1], true
	}
	return value, value == "" || !strings.ContainsRune(quotes, rune(value[0])) && !strings.ContainsRune(quotes, rune(value[len(value)-1]))
}
