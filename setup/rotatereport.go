package setup

import (
	"fmt"
	"time"

	"dockerauth/jwtsign"
)

func (r *rotation) reportPrepared() {
	r.rest.WriteString("\nTHE REGISTRY has to trust the new key before it signs. ")
	switch certificate := jwtsign.ShellWord(r.certificateOf(r.next)); {
	case r.cfg.CertificateFile == "":
		fmt.Fprintf(&r.rest, `Do this for every registry, and restart it.
One that has jwks (3.x): %s >FILE
One that has rootcertbundle: cat %s >>FILE
`, r.shell("dockerauth jwks"), certificate)
	case r.Bundle == toStdout:
		r.rest.WriteString("Make what is printed the bundle of every registry,\nand restart the registry.\n")
	default:
		fmt.Fprintf(&r.rest, `Copy the bundle to every registry, and restart it:

install -D -m 644 %s %s
`, jwtsign.ShellWord(r.bundle.path), registryBundle)
	}
	fmt.Fprintf(&r.rest, `
On several machines, copy these files to each, config.yml last.
When that is done: %s
`, r.command("--switch"))
}

func (r *rotation) reportSwitched(since time.Time, signing string) {
	r.rest.WriteString(`
A service that runs takes it within two seconds. On several machines, copy config.yml to each.
`)
	tokens := since.Add(r.cfg.AccessTokenTTL + time.Minute).UTC().Format(minute)
	if r.cfg.CertificateFile != "" {
		fmt.Fprintf(&r.rest, `
From %s on the registry needs the new certificate alone. Copy it, and restart the registry:

install -D -m 644 %s %s
`, tokens, jwtsign.ShellWord(r.certificateOf(signing)), registryBundle)
	}
	fmt.Fprintf(&r.rest, "\nRefresh tokens of the old key end by %s. Then: %s\n",
		since.Add(r.cfg.RefreshTokenTTL).UTC().Format(minute), r.command("--retire"))
}

func (r *rotation) reportRetired(old []string) {
	if r.cfg.CertificateFile != "" && r.Bundle != toStdout {
		fmt.Fprintf(&r.rest, `
THE REGISTRY needs no certificate of an old key. Copy the bundle to every registry, and restart it:

install -D -m 644 %s %s
`, jwtsign.ShellWord(r.bundle.path), registryBundle)
	} else if r.cfg.CertificateFile == "" {
		fmt.Fprintf(&r.rest, "\nA REGISTRY with jwks: %s >FILE, and restart it.\n", r.shell("dockerauth jwks"))
	}
	r.rest.WriteString("\nOn several machines, copy config.yml to each. Nothing uses the old key then:\n\nshred -u")
	for _, file := range old {
		r.rest.WriteString(" " + jwtsign.ShellWord(file))
		if certificate := r.certificateOf(file); isThere(certificate) {
			r.rest.WriteString(" " + jwtsign.ShellWord(certificate))
		}
	}
	r.rest.WriteString("\n")
}
