package region

import (
	"crypto/x509"
	"encoding/pem"
	"os"
	"time"
)

// expiry returns when the first of the certificates in a PEM file expires, false if
// there is none or it can't be read: then connections fail, and say why.
func expiry(file string) (first time.Time, any bool) {
	data, err := os.ReadFile(file)
	if err != nil {
		return first, false
	}
	for block, rest := pem.Decode(data); block != nil; block, rest = pem.Decode(rest) {
		if block.Type != "CERTIFICATE" {
			continue
		}
		c, err := x509.ParseCertificate(block.Bytes)
		if err == nil && (!any || c.NotAfter.Before(first)) {
			first, any = c.NotAfter, true
		}
	}
	return first, any
}
