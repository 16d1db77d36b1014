// Package packaging contains the files installed beside the binary, for PAM, web servers, systemd
// and others. It embeds those that the binary writes or shows.
package packaging

import (
	"embed"
	"slices"
)

// Config is the config.yml that packages install, without issuer and audience. "dockerauth init"
// adds these.
//
//go:embed config.yml
var Config string

//go:embed pam
var pamServices embed.FS

// Accounts are the kinds of accounts that there is a PAM service file for, the default first.
var Accounts = []string{"local", "sssd", "sssd-local", "krb5", "oath", "google-authenticator", "faillock", "access"}

// PAMService is the file for /etc/pam.d; "" for an unknown kind.
func PAMService(accounts string) string {
	if !slices.Contains(Accounts, accounts) {
		return ""
	}
	if accounts == Accounts[0] {
		accounts = "dockerauth"
	}
	text, _ := pamServices.ReadFile("pam/" + accounts)
	return string(text)
}

// IsPAMService reports whether a text is one of these files, unchanged.
func IsPAMService(text string) bool {
	return slices.ContainsFunc(Accounts, func(kind string) bool { return PAMService(kind) == text })
}

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
