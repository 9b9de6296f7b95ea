package artifact

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
)

// Check is one of the things that Probe looks at, in its order.
type Check string

const (
	// CheckEndpoint passes if something answers S3 requests at the endpoint.
	CheckEndpoint Check = "endpoint"
	// CheckCredentials passes if it accepts the credentials.
	CheckCredentials Check = "credentials"
	// CheckBucket passes if the bucket exists, or could be created.
	CheckBucket Check = "bucket"
	// CheckWrite passes if the credentials may write to the bucket.
	CheckWrite Check = "write"
)

// ProbeObject is the object that Probe writes to see that it may. It stays: a removal would need a further permission.
const ProbeObject = ".stellarflow/probe"

// ProbeError says which check failed, why, and what to do. It never holds a credential.
type ProbeError struct {
	// Check is the check that failed; those before it passed.
	Check Check
	// Store describes the store: scheme, endpoint and bucket.
	Store string
	// Reason is what was seen.
	Reason string
	// Remedy is what to do.
	Remedy string
}

// Error is one sentence with all of it.
func (e *ProbeError) Error() string {
	return fmt.Sprintf("artifact store %s: %s check failed: %s: %s", e.Store, e.Check, e.Reason, e.Remedy)
}

// Client is an S3 client for the store. Requests are tried three times.
func Client(store Store) (*minio.Client, error) {
	client, err := minio.New(store.Endpoint, &minio.Options{
		Creds:      credentials.NewStaticV4(store.AccessKey, store.SecretKey, ""),
		Secure:     !store.Insecure,
		Region:     store.Region,
		MaxRetries: 3,
	})
	if err != nil {
		return nil, &ProbeError{CheckEndpoint, store.String(), redact(store, err), "write the endpoint as host:port"}
	}
	return client, nil
}

// Probe checks that the endpoint answers, that the credentials work, that the bucket exists (it is created if create is
// true) and that it can be written to. A failed check is a *ProbeError. The caller bounds the time with ctx.
func Probe(ctx context.Context, store Store, create bool) error {
	client, err := Client(store)
	if err != nil {
		return err
	}
	exists, err := bucketExists(ctx, client, store)
	if err != nil {
		return err
	}
	if !exists && !create {
		return &ProbeError{
			CheckBucket, store.String(), fmt.Sprintf("bucket %q does not exist", store.Bucket),
			"create it, or allow it to be created",
		}
	}
	if !exists {
		if err := createBucket(ctx, client, store); err != nil {
			return err
		}
	}
	content := []byte("stellarflow writes this object to see that it may\n")
	_, err = client.PutObject(ctx, store.Bucket, ProbeObject, bytes.NewReader(content), int64(len(content)),
		minio.PutObjectOptions{ContentType: "text/plain", DisableMultipart: true})
	if err != nil {
		return classify(store, err, &ProbeError{
			CheckWrite, store.String(), fmt.Sprintf("object %q cannot be written: %s", ProbeObject, redact(store, err)),
			"let the user of the access key read and write the bucket's objects",
		})
	}
	return nil
}

// bucketExists asks for the bucket's location, whose answer has a body and so tells bad credentials from a missing bucket;
// a user who may not ask that is asked about with HEAD.
func bucketExists(ctx context.Context, client *minio.Client, store Store) (bool, error) {
	_, err := client.GetBucketLocation(ctx, store.Bucket)
	if code(err) == "AccessDenied" || err == nil {
		// With a region set, the location is not asked for and no request was made: HEAD settles both cases.
		var exists bool
		if exists, err = client.BucketExists(ctx, store.Bucket); err == nil {
			return exists, nil
		}
	}
	switch code(err) {
	case "NoSuchBucket":
		return false, nil
	case "AccessDenied":
		return false, &ProbeError{
			CheckBucket, store.String(), fmt.Sprintf("access to bucket %q is denied", store.Bucket),
			"let the user of the access key use the bucket, check the secret key, or choose a bucket of its own",
		}
	}
	return false, classify(store, err, &ProbeError{
		CheckEndpoint, store.String(), "the answer is not that of an S3 server: " + redact(store, err),
		"check the endpoint's host and port",
	})
}

// createBucket creates the bucket; one that appeared meanwhile is fine.
func createBucket(ctx context.Context, client *minio.Client, store Store) error {
	err := client.MakeBucket(ctx, store.Bucket, minio.MakeBucketOptions{Region: store.Region})
	if err == nil || code(err) == "BucketAlreadyOwnedByYou" {
		return nil
	}
	return classify(store, err, &ProbeError{
		CheckBucket, store.String(), fmt.Sprintf("bucket %q does not exist and cannot be created: %s", store.Bucket, redact(store, err)),
		"create it, or let the user of the access key create it",
	})
}

// classify recognises failures that can meet any request; everything else is the given one.
func classify(store Store, err error, otherwise *ProbeError) error {
	badCredentials := []string{"InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidTokenId", "ExpiredToken", "XMinioInvalidAccessKey"}
	var answer minio.ErrorResponse
	switch {
	case errors.Is(err, context.Canceled):
		return err
	case strings.Contains(err.Error(), "server gave HTTP response to HTTPS client"):
		return &ProbeError{CheckEndpoint, store.String(), "the server speaks http, not https", "set insecure to true"}
	case strings.Contains(err.Error(), "HTTP request to an HTTPS server"):
		return &ProbeError{CheckEndpoint, store.String(), "the server speaks https, not http", "set insecure to false"}
	case !errors.As(err, &answer):
		return &ProbeError{CheckEndpoint, store.String(), "no answer: " + redact(store, err), "check the address, that the server runs and that this machine may reach it"}
	case answer.StatusCode >= http.StatusInternalServerError:
		return &ProbeError{CheckEndpoint, store.String(), "the server is not ready: " + redact(store, err), "wait a moment and try again, or look at the server's log"}
	case slices.Contains(badCredentials, answer.Code):
		return &ProbeError{CheckCredentials, store.String(), "the server rejects them (" + answer.Code + ")", "check the access key and the secret key"}
	case answer.Code == "AuthorizationHeaderMalformed" || answer.Code == "InvalidRegion":
		return &ProbeError{CheckCredentials, store.String(), fmt.Sprintf("region %q is not the bucket's (%s)", store.Region, answer.Region), "set the bucket's region"}
	case answer.Code == "RequestTimeTooSkewed":
		return &ProbeError{CheckCredentials, store.String(), "the clocks of this machine and the server differ too much", "set both clocks"}
	}
	return otherwise
}

// code is the S3 error code of an error, empty for others.
func code(err error) string {
	var answer minio.ErrorResponse
	if errors.As(err, &answer) {
		return answer.Code
	}
	return ""
}

// redact is the error's text without the credentials, whatever the server wrote into its answer.
func redact(store Store, err error) string {
	text := err.Error()
	for _, secret := range []string{store.SecretKey, store.AccessKey} {
		if secret != "" {
			text = strings.ReplaceAll(text, secret, "<redacted>")
		}
	}
	return text
}
