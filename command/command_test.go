package command

import (
	"bytes"
	"strings"
	"testing"

	"dockerauth/cli"
)

func TestCommandsHaveHelpAndRefuseWhatTheyDoNotKnow(t *testing.T) {
	for name, flags := range map[string][]string{
		"http":    {"--config", "--listen", "--admin"},
		"fastcgi": {"--config", "--listen", "--admin"},
		"explain": {"--config", "--groups", "--from", "--service"},
		"init":    {"--dir", "--issuer", "--audience", "--realm", "--key-type", "--group", "--pam-dir"},
		"check":   {"--config", "--as", "--program", "--registry-config", "--registry", "--url", "--login", "--json"},
	} {
		var help, out, errs bytes.Buffer
		if status := Run([]string{name, "--help"}, Streams{Out: &help, Err: &errs}); status != cli.ExitDone ||
			errs.Len() > 0 {
			t.Errorf("%s --help: status %d: %s", name, status, &errs)
		}
		for _, part := range append(flags, "Example:") {
			if !strings.Contains(help.String(), part) {
				t.Errorf("the help of %s does not name %s", name, part)
			}
		}
		if status := Run([]string{name, "--force"}, Streams{Out: &out, Err: &errs}); status != cli.ExitUsage ||
			out.Len() > 0 ||
			errs.String() != "dockerauth "+name+": flag provided but not defined: -force\n  see dockerauth "+name+
				" --help\n" {
			t.Errorf("%s --force: status %d: %s%s", name, status, &out, &errs)
		}
		errs.Reset()
		if status := Run([]string{name, "x"}, Streams{Out: &out, Err: &errs}); status != cli.ExitUsage ||
			out.Len() > 0 ||
			name != "explain" && errs.String() != "dockerauth "+name+": unexpected argument \"x\"\n  see dockerauth "+
				name+" --help\n" {
			t.Errorf("%s x: status %d: %s%s", name, status, &out, &errs)
		}
	}
}
