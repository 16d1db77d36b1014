// Package packaging is what is installed beside the binary: files for PAM, web servers, systemd and others, in folders named for whoever reads
// them. Those that the binary itself writes or shows are in it.
package packaging

import _ "embed"

// Config is the config.yml that packages install: all it lacks is issuer and audience, which "dockerauth init" fills in.
//
//go:embed config.yml
var Config string

// PAMService is the file for /etc/pam.d.
//
//go:embed pam/dockerauth
var PAMService string
