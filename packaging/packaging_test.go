package packaging

import (
	"crypto/sha256"
	"fmt"
	"testing"
)

// "dockerauth init" fills this file in, so to dpkg every installation has changed it: with another
// one in a new version, dpkg asks each administrator which to keep, stops an upgrade that nobody
// watches, and a yes empties issuer and audience.
func TestTheConfigurationInPackagesStaysAsItIs(t *testing.T) {
	const first = "76327647c9a31eaed810eef8a09fb92d5c56a752651a48fece81e8fc0e6c3684"
	if got := fmt.Sprintf("%x", sha256.Sum256([]byte(Config))); got != first {
		t.Errorf("packaging/config.yml has changed: what is new in it can stand in config.yml.dist and in " +
			"dockerauth-config(5)")
	}
}
