// Package packaging contains the files installed beside the binary, for PAM, web servers, systemd
// and others. It embeds those that the binary writes or shows.
package packaging

import _ "embed"

// Config is the config.yml that packages install, without issuer and audience. "dockerauth init"
// adds these.
//
//go:embed config.yml
var Config string

// PAMService is the file for /etc/pam.d.
//
//go:embed pam/dockerauth
var PAMService string

// Apache, ApacheCGI and Nginx are the examples for web servers: the first and the last are for a
// service at its usual socket.
var (
	//go:embed apache/proxy-fcgi.conf
	Apache string
	//go:embed apache/cgi-bin.conf
	ApacheCGI string
	//go:embed nginx/fastcgi.conf
	Nginx string
)
