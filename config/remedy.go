package config

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"dockerauth/jwtsign"
)

// systemDir is where init works without --dir.
const systemDir = "/etc/dockerauth"

// InitCommand is a command that makes what is missing beside a configuration; "" where init would
// work with another file.
func InitCommand(config string, flags ...string) string {
	if filepath.Base(config) != "config.yml" {
		return ""
	}
	command := "dockerauth init"
	if dir := filepath.Dir(config); dir != systemDir {
		command += " --dir " + jwtsign.ShellWord(dir)
	}
	return strings.Join(append([]string{command}, flags...), " ")
}

// LacksNames reports a text with the two empty lines, as packages install them, that init fills in.
func LacksNames(text []byte) bool {
	return bytes.Contains(text, []byte("\nissuer: \"\"\n")) && bytes.Contains(text, []byte("\naudience: \"\"\n"))
}

// setUpCommand has names for issuer and audience. Both may be the machine's own.
func setUpCommand(config string) string {
	issuer, audience := suggestedNames()
	return InitCommand(config, "--issuer", issuer, "--audience", audience)
}

func suggestedNames() (issuer, audience string) {
	if host := hostName(); host != "" {
		return host, host
	}
	return "AUTH.EXAMPLE.COM", "REGISTRY.EXAMPLE.COM"
}

// hostName is the machine's full name, if it knows one; it asks no name server. Debian's installer
// writes it into /etc/hosts.
func hostName() string {
	name, err := os.Hostname()
	if err != nil || !isHostName.MatchString(name) {
		return ""
	}
	if strings.Contains(name, ".") {
		return name
	}
	hosts, err := os.ReadFile("/etc/hosts")
	if err != nil {
		return ""
	}
	for line := range strings.Lines(string(hosts)) {
		line, _, _ = strings.Cut(line, "#")
		for _, word := range strings.Fields(line) {
			if strings.HasPrefix(word, name+".") && isHostName.MatchString(word) &&
				!strings.HasSuffix(word, ".localdomain") {
				return word
			}
		}
	}
	return ""
}

var isHostName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9.-]{0,200}$`)

// keyHint prefers dockerauth init to other programs, where it may work with the files.
func (s *settings) keyHint(fe *jwtsign.FileError) string {
	dir := filepath.Dir(s.configFile)
	command := InitCommand(s.configFile)
	if fe.Code == jwtsign.CodeIDRule && command != "" && filepath.Dir(s.config.PrivateKeyFile) == dir {
		return fmt.Sprintf("sed -i '$a certificate: cert.pem' %s && %s", jwtsign.ShellWord(s.configFile), command)
	}
	if command == "" || s.config.CertificateFile == "" || filepath.Dir(s.config.PrivateKeyFile) != dir ||
		filepath.Dir(s.config.CertificateFile) != dir {
		return fe.Hint
	}
	switch fe.Code {
	case jwtsign.CodeMissing, jwtsign.CodeUnsuitable, jwtsign.CodeDamaged, jwtsign.CodeMismatch:
		if fe.Setting == "certificate" {
			return aside(s.config.CertificateFile) + command
		}
		return aside(s.config.PrivateKeyFile) + aside(s.config.CertificateFile) + command
	case jwtsign.CodeExpired, jwtsign.CodeNotYet:
		return command + " --renew-certificate"
	case jwtsign.CodeWrongFile:
		if fe.Setting == "private_key" && holdsKey(s.config.CertificateFile) {
			return swap(s.config.PrivateKeyFile, s.config.CertificateFile)
		}
	}
	return fe.Hint
}

// aside is a command that moves a file away, if it is there.
func aside(path string) string {
	if _, err := os.Lstat(path); err != nil {
		return ""
	}
	path = jwtsign.ShellWord(path)
	return fmt.Sprintf("mv %s %[1]s.old && ", path)
}

// swap exchanges two files. The key gets the owners that the file in its place had.
func swap(key, certificate string) string {
	return fmt.Sprintf("mv %[1]s %[1]s.swap && mv %[2]s %[1]s && mv %[1]s.swap %[2]s && "+
		"chown --reference=%[2]s %[1]s && chmod 640 %[1]s && chmod 644 %[2]s",
		jwtsign.ShellWord(key), jwtsign.ShellWord(certificate))
}

// holdsKey reports a file with a private key.
func holdsKey(path string) bool {
	data, err := os.ReadFile(path)
	return err == nil && bytes.Contains(data, []byte("PRIVATE KEY-----"))
}

// needsQuotes finds a text that YAML reads as something else: one with {user} or {group}, or one
// that begins with * or @. It stands where a value or an item of a list begins.
var needsQuotes = regexp.MustCompile(`(^\s*-\s+|:\s+|[\[,]\s*)` +
	`((?:[^\s\[\]{},"'#:]|\{user\}|\{group\})*\{(?:user|group)\}(?:[^\s\[\]{},"'#]|\{user\}|\{group\})*|` +
	`[*@][^\s\[\]{},"'#]*)`)

// maxQuotes bounds the command of quoteCommand.
const maxQuotes = 5

// quoteCommand puts quotes around the texts of a file that need them; "" = there is none in line.
func quoteCommand(path string, data []byte, line int) string {
	var edits []string
	number, isThere := 0, false
	for text := range strings.Lines(string(data)) {
		number++
		text, _, _ = strings.Cut(text, " #")
		for _, found := range needsQuotes.FindAllStringSubmatch(text, -1) {
			isThere = isThere || number == line
			if len(edits) < maxQuotes && !isKeyMaterial(found[2]) {
				edits = append(edits, fmt.Sprintf(`%ds#\([[:space:],[]\)\(%s\)#\1"\2"#`, number, sedEscaped(found[2])))
			}
		}
	}
	if !isThere || len(edits) == 0 {
		return ""
	}
	return fmt.Sprintf("sed -i '%s' %s", strings.Join(edits, "; "), jwtsign.ShellWord(path))
}

// sedEscaped is a text as a basic regular expression.
func sedEscaped(text string) string {
	return regexp.MustCompile(`[.*\[\]^$\\]`).ReplaceAllString(text, `\$0`)
}

// RenewCommand makes another certificate for the key, signed by itself and no CA.
func (c *Config) RenewCommand() string {
	s := settings{configFile: c.Path, config: *c}
	return s.keyHint(
		&jwtsign.FileError{
			Code: jwtsign.CodeExpired,
			Hint: jwtsign.CertificateCommand(c.PrivateKeyFile, c.CertificateFile),
		},
	)
}
