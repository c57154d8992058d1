package api

import (
	"bytes"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"hash"
	"io"
	"net/http"
	"strings"

	"github.com/romi/plantdb-go/internal/fault"
)

var (
	errDigest         = fault.New(fault.Invalid, "invalid_digest", "Content-Digest and Repr-Digest look like: sha-256=:BASE64:, sha-512=:BASE64:")
	errDigestMismatch = fault.New(fault.Invalid, "digest_mismatch", "What came does not have the sha-256 that Content-Digest says.")
)

// DigestHeaders are what a client says of the body that it sends (RFC 9530).
// They are read by digestsOf, for a part of a form may have them as well.
type DigestHeaders struct {
	ContentDigest string `header:"Content-Digest" doc:"Digest of the whole body, sha-256 or sha-512 (RFC 9530): one that does not hold is a 400 digest_mismatch, and nothing is kept. The part of the form that is the file may have the header too, of its own bytes. Other algorithms are passed over." example:"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"`
	ReprDigest    string `header:"Repr-Digest" doc:"As Content-Digest, for nothing here encodes a body: of the whole body, or in the part that is the file of its bytes." example:"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"`
}

// BodyDigests are DigestHeaders of a body that is no form.
type BodyDigests struct {
	ContentDigest string `header:"Content-Digest" doc:"Digest of the body, sha-256 or sha-512 (RFC 9530): one that does not hold is a 400 digest_mismatch, and nothing of the body is kept. Other algorithms are passed over." example:"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"`
	ReprDigest    string `header:"Repr-Digest" doc:"As Content-Digest, for nothing here encodes a body." example:"sha-256=:RBNvo1WzZ4oRRq0W9+hknpT7T8If536DEMBg9hyq/4o=:"`
}

// digest is one that was announced, and that of what has come so far.
type digest struct {
	header, algorithm string
	want              []byte
	sum               hash.Hash
}

type digests []digest

// maxDigests bounds what is computed for one body.
const maxDigests = 4

// digestsOf returns the digests that the headers of a request or of a part
// announce; errDigest if they cannot be read.
func digestsOf(h http.Header) (all digests, err error) {
	for _, name := range []string{"Content-Digest", "Repr-Digest"} {
		text := strings.Join(h.Values(name), ",")
		if strings.TrimSpace(text) == "" {
			continue
		}
		for member := range strings.SplitSeq(text, ",") {
			d, known, err := parseDigest(member)
			if err != nil {
				return nil, err
			}
			if d.header = name; known {
				all = append(all, d)
			}
		}
	}
	if len(all) > maxDigests {
		return nil, errDigest.With("More than %d digests of one body.", maxDigests)
	}
	return all, nil
}

// parseDigest reads one member of the dictionary; known is false for an
// algorithm that is none of ours.
func parseDigest(member string) (d digest, known bool, err error) {
	algorithm, value, ok := strings.Cut(strings.TrimSpace(member), "=")
	value, _, _ = strings.Cut(value, ";") // parameters mean nothing here
	value = strings.TrimSpace(value)
	if !ok || len(value) < 2 || value[0] != ':' || value[len(value)-1] != ':' {
		return d, false, errDigest
	}
	if d.want, err = base64.StdEncoding.DecodeString(value[1 : len(value)-1]); err != nil {
		return d, false, errDigest.Because(err)
	}
	switch d.algorithm = algorithm; algorithm {
	case "sha-256":
		d.sum = sha256.New()
	case "sha-512":
		d.sum = sha512.New()
	default:
		return d, false, nil
	}
	if len(d.want) != d.sum.Size() {
		return d, false, errDigest.With("A %s has %d bytes.", algorithm, d.sum.Size())
	}
	return d, true, nil
}

// reader returns r, whose bytes are digested as they are read.
func (all digests) reader(r io.Reader) io.Reader {
	for _, d := range all {
		r = io.TeeReader(r, d.sum)
	}
	return r
}

// check says whether what was read has all the digests; errDigestMismatch.
func (all digests) check() error {
	for _, d := range all {
		if !bytes.Equal(d.sum.Sum(nil), d.want) {
			return errDigestMismatch.With("What came does not have the %s that %s says.", d.algorithm, d.header)
		}
	}
	return nil
}
