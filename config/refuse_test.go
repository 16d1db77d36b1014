package config

import (
	"fmt"
	"strings"
	"testing"
)

// head has the required keys. Text after it starts on line 4.
const head = "private_key: k.pem\nissuer: i\naudience: a\n"

const (
	fullTop = "private_key, issuer, audience, blacklisted_users, certificate, key_id, previous_keys, " +
		"access_token_ttl, refresh_token_ttl, trusted_proxies, state, passwords, pam, log, access"
	form = "write a number and s, m, h, d or w, the larger first: 15m, 90d, 1h30m"
)

func TestRefused(t *testing.T) {
	issuer, audience := suggestedNames()
	unset := "write issuer: " + issuer + " and audience: " + audience + " in /etc/d/f"
	pem := "-----BEGIN PRIVATE KEY-----\n%[1]sMIIEvQIBADANBgkqhkiG9w0BAQEFAASC\n%[1]s-----END PRIVATE KEY-----\n"
	for _, c := range []struct{ name, text, want string }{
		// the file
		{"an empty file", "", "f: is empty\n  " + formHint},
		{"comments only", "# later\n", "f: is empty\n  " + formHint},
		{"a text", "x\n", "f:1: is a text, not a list of keys and values\n  write one KEY: VALUE a line"},
		{"a list", "\n- a\n", "f:2: is a list, not a list of keys and values\n  write one KEY: VALUE a line"},
		{"Latin-1", head + "# caf\xe9\n",
			"f:4: is not UTF-8\n  t=$(mktemp) && iconv -f ISO-8859-1 -t UTF-8 /etc/d/f >\"$t\" && " +
				"cat \"$t\" >/etc/d/f && rm \"$t\""},
		{"a tab before a key", head + "pam:\n\tservice: x\n", "f:5: has a tab\n  sed -i 's/\\t/  /g' /etc/d/f"},
		{"a tab in a value", head + "key_id: \"lib\ttrust\"\n", "f:4: has a tab\n  sed -i 's/\\t/  /g' /etc/d/f"},
		{"a second document", head + "---\n" + head,
			"f:4: a second document begins\n  keep one, and delete the line ---"},
		{"text after the end of the document", head + "...\nx: y\n",
			"f:5: a second document begins\n  keep one, and delete the line ---"},
		{"a directive", "%YAML 1.2\n---\n" + head,
			"f:1: directives are not read here\n  a text that begins with % goes in quotes"},
		{"an anchor", head + "key_id: &x libtrust\n",
			"f:4: anchors, aliases and merge keys are not read here\n  write the value out; a text that begins with " +
				"& or * goes in quotes"},
		{"an alias", "blacklisted_users: [*]\n",
			"f:1: anchors, aliases and merge keys are not read here\n  " +
				`sed -i '1s#\([[:space:],[]\)\(\*\)#\1"\2"#' /etc/d/f`},
		{"a merge key", head + "<<: {key_id: libtrust}\n",
			"f:4: anchors, aliases and merge keys are not read here\n  write the value out; a text that begins with " +
				"& or * goes in quotes"},
		{"a tag", head + "key_id: !!str libtrust\n",
			"f:4: tags are not read here\n  a text that begins with ! goes in quotes"},
		{"a key that is not a word", "? issuer\n: x\n",
			"f:1: keys are plain words here\n  a text that begins with ? goes in quotes"},
		{"ten thousand brackets", "audience: " + strings.Repeat("[", 10_000),
			"f:1: is nested too deeply\n  no key takes a list in a list"},
		{"ten thousand dashes", strings.Repeat("- ", 10_000),
			"f:1: is nested too deeply\n  no key takes a list in a list"},
		{"a colon in a value", "issuer: a: b\n",
			"f:1: cannot be read as YAML: mapping value is not allowed in this context\n  a text with a colon and a " +
				"space in it goes in quotes; keys of one section begin in the same column"},
		{"a quote left open", "issuer: \"x\n",
			"f:1: cannot be read as YAML: could not find end character of double-quoted text\n  a quote is not closed"},
		{"a bracket left open", "issuer: x\naudience: [a, b\n",
			"f:2: cannot be read as YAML: sequence end token ']' not found\n  a bracket is not closed"},
		{"a word without a colon", "issuer: x\nissuer\n",
			"f:2: cannot be read as YAML: non-map value is specified\n  " + formHint},
		{"half an indentation", head + "pam:\n  service: x\n log: y\n",
			"f:6: cannot be read as YAML: value is not allowed in this context\n  " + formHint},

		// keys
		{"no key at all", "{}\n", "f: is not set up: issuer and audience have no value\n  " + unset},
		{"no issuer", "private_key: k\naudience: a\n",
			"f: issuer: is missing\n  write the issuer that the registry's auth.token section has"},
		{"no audience at all", "private_key: k\nissuer: i\n",
			"f: audience: is missing\n  write the service that the registry's auth.token section has"},
		{"no private key", "issuer: i\naudience: a\n",
			"f: private_key: is missing\n  name the file that holds the signing key"},
		{"a key twice", head + "issuer: b\n", "f:4: issuer: is already set on line 2\n  delete line 2 or line 4"},
		{"a key of a section twice", head + "log:\n  level: info\n  level: info\n",
			"f:6: log.level: is already set on line 5\n  delete line 5 or line 6"},
		{"a section twice", head + "log: {level: info}\nlog: {format: text}\n",
			"f:5: log: is already set on line 4\n  delete line 4 or line 5"},
		{"a letter missing", head + "acess_token_ttl: 15m\n",
			"f:4: acess_token_ttl: unknown key, perhaps access_token_ttl is meant\n  " +
				"sed -i '4s/\\bacess_token_ttl\\b/access_token_ttl/' /etc/d/f"},
		{"a letter missing in a key that is needed", "private_key: k\nisuer: i\naudience: a\n",
			"f:2: isuer: unknown key, perhaps issuer is meant\n  sed -i '2s/\\bisuer\\b/issuer/' /etc/d/f"},
		{"a key and a mistyped one", head + "isuer: i\n",
			"f:4: isuer: unknown key, perhaps issuer is meant\n  delete line 4: issuer is set on line 2"},
		{"a capital", head + "Key-ID: libtrust\n",
			"f:4: Key-ID: unknown key, perhaps key_id is meant\n  sed -i '4s/\\bKey-ID\\b/key_id/' /etc/d/f"},
		{"a key of a section outside it", head + "service: x\n",
			"f:4: service: unknown key\n  service is in pam: write it below that, indented"},
		{"a key in a section that is not in it", head + "log:\n  issuer: x\n",
			"f:5: log.issuer: unknown key\n  issuer is not in log: begin its line in the first column"},
		{"a key that resembles none", head + "pam: {zzz: 1}\n",
			"f:4: pam.zzz: unknown key\n  known are service, confdir, timeout, concurrency, cache"},
		{"a number for a key", head + "1: 2\n", "f:4: 1: unknown key\n  known are " + fullTop},
		{"a password for a key", head + "hunter2!: x\n", "f:4: unknown key of 8 bytes\n  known are " + fullTop},
		{"a line of a key file for a key", head + strings.Repeat("A", 64) + ": x\n",
			"f:4: unknown key of 64 bytes\n  known are " + fullTop},

		// secrets in the wrong place
		{"a key in place of its path", "issuer: i\naudience: a\nprivate_key: |\n  " + fmt.Sprintf(pem, "  "),
			"f:3: private_key: holds a key or certificate, not the path of one\n  " + pathHint},
		{"a key in quotes in place of its path", "issuer: i\naudience: a\nprivate_key: \"" +
			strings.TrimSpace(fmt.Sprintf(pem, "  ")) + "\"\n",
			"f:3: private_key: holds a key or certificate, not the path of one\n  " + pathHint},
		{"a key in place of its path, without quotes", head + "certificate: " + fmt.Sprintf(pem, ""),
			"f:4: holds a key or certificate\n  " + pathHint},
		{"a key's base64 in place of its path",
			"issuer: i\naudience: a\nprivate_key: MHcCAQEEIOBqoAoGCCqGSM49AwEHoUQDQgAEm7zUpx3bzmVE5c\n",
			"f:3: private_key: holds a key or certificate, not the path of one\n  " + pathHint},
		{"a key in place of the issuer", "private_key: k\nissuer: >\n  " + fmt.Sprintf(pem, "  ") + "audience: a\n",
			"f:2: issuer: holds a key or certificate\n  " + pathHint},
		{"a key in a comment, and an error elsewhere", "# -----BEGIN\nissuer: [\n",
			"f:2: cannot be read as YAML: sequence end token ']' not found\n  a bracket is not closed"},

		// texts
		{"nothing", "private_key:\nissuer: ~\naudience: null\n",
			"f:2: is not set up: issuer and audience have no value\n  " + unset},
		{"empty texts", "private_key: ''\nissuer: \"\"\naudience: ''\n",
			"f:2: is not set up: issuer and audience have no value\n  " + unset},
		{"other types", "private_key: 7\nissuer: true\naudience: {a: b}\nblacklisted_users: bob\n",
			"f:1: private_key: is a number, not a text\n  put it in quotes\n" +
				"f:2: issuer: is true or false, not a text\n  put it in quotes\nf:3: audience: is a section, not a " +
				"text\n  write one value on one line\n" +
				"f:4: blacklisted_users: is a text, not a list\n  write it in brackets: [\"one\", \"two\"]; none is " +
				"[]"},
		{"a line break", head + "log:\n  file: \"a\\nb\"\n",
			"f:5: log.file: has a line break or another control character\n  write it on one line"},
		{"a NUL", "private_key: k\nissuer: x\x00y\naudience: a\n",
			"f:2: issuer: has a line break or another control character\n  write it on one line"},
		{"a letter of no width", "private_key: k\nissuer: \"x\\u200b\"\naudience: a\n",
			"f:2: issuer: has a line break or another control character\n  write it on one line"},
		{"spaces around", "private_key: ' k'\nissuer: 'i '\naudience: a\n",
			"f:1: private_key: begins or ends with a space\n  remove the space\nf:2: issuer: begins or ends with " +
				"a space\n  remove the space"},
		{"too long", "private_key: k\nissuer: " + strings.Repeat("i", 256) + "\naudience: a\n",
			"f:2: issuer: has 256 bytes, the most is 255\n  shorten it"},

		// lists
		{"no audience", "private_key: k\nissuer: i\naudience: []\n",
			"f:3: audience: is an empty list\n  write the service that the registry's auth.token section has"},
		{"an audience twice", "private_key: k\nissuer: i\naudience:\n  - a\n  - b\n  - a\n",
			"f:6: audience: \"a\" is listed twice\n  keep one of them"},
		{"the audience of refresh tokens", "private_key: k\nissuer: i\naudience: [a, 'dockerauth:refresh']\n",
			"f:3: audience: \"dockerauth:refresh\" is reserved for refresh tokens\n  give the registry another " +
				"service name"},
		{"an audience that is a number", "private_key: k\nissuer: i\naudience: [a, 3]\n",
			"f:3: audience: is a number, not a text\n  put it in quotes"},
		{"bad names in the blacklist", head + "blacklisted_users:\n- ''\n- [x]\n- 1000\n",
			"f:5: blacklisted_users: is empty\n  write a value, or delete the line\n" +
				"f:6: blacklisted_users: is a list, not a text\n  write one value on one line\nf:7: " +
				"blacklisted_users: is a number, not a text\n  put it in quotes"},
		{"a blacklist without a value", head + "blacklisted_users:\n",
			"f:4: blacklisted_users: is nothing, not a list\n  write it in brackets: [\"one\", \"two\"]; none is []"},

		// previous keys
		{"a previous key without brackets", head + "previous_keys: old.pem\n",
			"f:4: previous_keys: is a text, not a list\n  write it in brackets: [\"privkey-old.pem\"]; none is []"},
		{"too many previous keys", head + "previous_keys: [a, b, c, d, e]\n",
			"f:4: previous_keys: lists 5 keys, the most is 4\n  take out those that have not signed for longer than " +
				"refresh_token_ttl"},
		{"a previous key in place of its path", head + "previous_keys:\n- |\n  " + fmt.Sprintf(pem, "  "),
			"f:5: previous_keys: holds a key or certificate, not the path of one\n  " + pathHint},
		{"a previous key without a name", head + "previous_keys:\n- a\n- ''\n",
			"f:6: previous_keys: is empty\n  write a value, or delete the line"},

		// lifetimes
		{"a lifetime without a unit", head + "access_token_ttl: 900\n",
			"f:4: access_token_ttl: has no unit\n  write s, m, h, d or w behind the number: 90s, 15m, 90d"},
		{"a lifetime without a unit, in quotes", head + "access_token_ttl: '900'\n",
			"f:4: access_token_ttl: \"900\": has no unit\n  " + form},
		{"a lifetime under a minute", head + "access_token_ttl: 59s\n",
			"f:4: access_token_ttl: \"59s\" is less than 1m\n  write 1m or more"},
		{"a lifetime over a day", head + "access_token_ttl: 24h1s\n",
			"f:4: access_token_ttl: \"24h1s\" is more than 1d\n  it cannot be revoked before it expires"},
		{"refresh tokens that expire before access tokens", head + "refresh_token_ttl: 14m\n",
			"f:4: refresh_token_ttl: 14m is less than access_token_ttl, 15m\n  make " +
				"refresh_token_ttl at least as long as access_token_ttl"},
		{"a login for eleven years", head + "refresh_token_ttl: 4015d\n",
			"f:4: refresh_token_ttl: \"4015d\" is more than 3650d\n  a login without end outlives the account"},
		{"a lifetime beyond counting", head + "refresh_token_ttl: 99999999999999999999w\n",
			"f:4: refresh_token_ttl: \"99999999999999999999w\": too long\n  " + form},

		// choices
		{"an unknown rule for key ids", head + "key_id: sha1\n",
			"f:4: key_id: \"sha1\" is unknown\n  write one of: libtrust, thumbprint"},
		{"an unknown word for passwords", head + "passwords: {allow: all}\n",
			"f:4: passwords.allow: \"all\" is unknown\n  write one of: docker-login, tokens-only"},
		{"one account without a list", head + "passwords: {except: bob}\n",
			"f:4: passwords.except: is a text, not a list\n  write it in brackets: [\"one\", \"two\"]; none is []"},
		{"an unknown log format", head + "log: {format: xml}\n",
			"f:4: log.format: \"xml\" is unknown\n  write one of: text, json"},
		{"a log level in capitals", head + "log: {level: INFO}\n",
			"f:4: log.level: \"INFO\" is unknown\n  write one of: debug, info, warn, error"},

		// PAM
		{"a section that is a text", head + "pam: dockerauth\n",
			"f:4: pam: is a text, not a section\n  write its keys below it, indented: service, confdir, timeout, " +
				"concurrency, cache"},
		{"the service that lets everyone in", head + "pam: {service: other}\n",
			"f:4: pam.service: \"other\" answers for services that have no file\n  make a file of its own for this " +
				"service, /etc/pam.d/dockerauth"},
		{"a service outside its folder", head + "pam: {service: ../x}\n",
			"f:4: pam.service: \"../x\" cannot name a service\n  use a to z, 0 to 9, and . _ - except at the start"},
		{"a service that begins with a dot", head + "pam: {service: .x}\n",
			"f:4: pam.service: \".x\" cannot name a service\n  use a to z, 0 to 9, and . _ - except at the start"},
		{"a service that begins with a dash", head + "pam: {service: '-x'}\n",
			"f:4: pam.service: \"-x\" cannot name a service\n  use a to z, 0 to 9, and . _ - except at the start"},
		{"a service in capitals", head + "pam: {service: SSHD}\n",
			"f:4: pam.service: \"SSHD\" cannot name a service\n  use a to z, 0 to 9, and . _ - except at the start"},
		{"no service", head + "pam: {service: ''}\n",
			"f:4: pam.service: is empty\n  write a value, or delete the line"},
		{"longer than docker waits", head + "pam: {timeout: 15s}\n",
			"f:4: pam.timeout: \"15s\" is more than 14s\n  docker login gives up after 15s"},
		{"no time at all", head + "pam: {timeout: 0s}\n",
			"f:4: pam.timeout: \"0s\" is less than 1s\n  write 1s or more"},
		{"minus one at once", head + "pam: {concurrency: -1}\n",
			"f:4: pam.concurrency: is not a whole number from 0 to 256\n  write 0 for the number of processor cores"},
		{"half a conversation", head + "pam: {concurrency: 4.5}\n",
			"f:4: pam.concurrency: is not a whole number from 0 to 256\n  write 0 for the number of processor cores"},
		{"octal", head + "pam: {concurrency: 010}\n",
			"f:4: pam.concurrency: is not a whole number from 0 to 256\n  write 0 for the number of processor cores"},
		{"more than memory allows", head + "pam: {concurrency: 257}\n",
			"f:4: pam.concurrency: is not a whole number from 0 to 256\n  write 0 for the number of processor cores"},
		{"a proxy by its name", head + "trusted_proxies: [proxy.example]\n",
			"f:4: trusted_proxies: \"proxy.example\" is neither an address nor a prefix\n  " + proxiesHint},
		{"all addresses as proxies", head + "trusted_proxies: [0.0.0.0/0]\n",
			"f:4: trusted_proxies: \"0.0.0.0/0\" means everyone: any client could choose its address\n  " +
				proxiesHint},
		{"all IPv4 addresses as proxies, written as IPv6", head + "trusted_proxies: [\"::ffff:0:0/96\"]\n",
			"f:4: trusted_proxies: \"::ffff:0:0/96\" means everyone: any client could choose its address\n  " +
				proxiesHint},
		{"a cache without unit", head + "pam: {cache: 30}\n",
			"f:4: pam.cache: has no unit\n  write s, m, h, d or w behind the number: 90s, 15m, 90d"},
		{"a cache for a day", head + "pam: {cache: 1d}\n",
			"f:4: pam.cache: \"1d\" is more than 5m\n  a locked account stays usable for that long"},
		{"a text for a number", head + "pam: {concurrency: '4'}\n",
			"f:4: pam.concurrency: is a text, not a number\n  write 0 for the number of processor cores"},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, errs := parse("f", "/etc/d", []byte(c.text))
			if got := errs.Error(); got != c.want {
				t.Errorf("got\n%s\nwant\n%s", got, c.want)
			}
		})
	}
}

func TestErrorsComeInTheOrderOfTheFile(t *testing.T) {
	_, errs := parse("f", "/", []byte("refresh_token_ttl: 1m\npam: {timeout: 1}\nlog: x\naccess_token_ttl: 15m\n"))
	var lines []int
	for _, e := range errs {
		lines = append(lines, e.Line)
	}
	if fmt.Sprint(lines) != "[1 2 3 0]" {
		t.Errorf("lines %v of\n%v, want 1 2 3 and then what is missing", lines, errs)
	}
}
