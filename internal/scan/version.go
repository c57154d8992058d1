package scan

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
)

// Version names a document as it is shown by the SHA-256 of its JSON, in hex.
// Two versions of the metadata of a scan, a fileset, a file or a timelapse are
// equal if and only if what a reader gets is: this is what an ETag is made of
// and what a conditional write compares, under the lock of the scan, with
// what it would replace.
func Version(document json.RawMessage) string {
	sum := sha256.Sum256(document)
	return hex.EncodeToString(sum[:])
}

// Version names what of the timelapse the actor sees: another one who may read
// other scans of it has another version.
func (t Timelapse) Version() (string, error) {
	document, err := encode(t)
	if err != nil {
		return "", fmt.Errorf("encode timelapse %q: %w", t.ID, err)
	}
	return Version(document), nil
}
