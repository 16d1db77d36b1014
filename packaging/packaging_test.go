package packaging

import "testing"

// "dockerauth init" fills this file in, so to dpkg every installation has changed it: with another
// one in a new version, dpkg asks each administrator which to keep, stops an upgrade that nobody
// watches, and a yes empties issuer and audience.
func TestTheConfigurationInPackagesStaysAsItIs(t *testing.T) {
	const first = `
# Configuration of dockerauth: dockerauth-config(5), or config.yml.dist, has every key with its default.
# Made by: dockerauth init --issuer ISSUER --audience SERVICE

# The key that signs tokens, and its certificate, a copy of which is the registry's rootcertbundle.
private_key: privkey.pem
certificate: cert.pem

# "issuer" and "service" in the auth.token section of the registry's configuration.
issuer: ""
audience: ""
`
	if "\n"+Config != first {
		t.Errorf("packaging/config.yml has changed: what is new in it can stand in config.yml.dist and in " +
			"dockerauth-config(5)")
	}
}
