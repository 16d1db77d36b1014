package e2e

import (
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// completers ask a real shell what it makes of the last word of a line. They find the script in a
// folder, as the packages install it, under the name _dockerauth.
var completers = map[string]func(t *testing.T, dir, line string) []string{
	"bash": func(t *testing.T, dir, line string) []string {
		script := `. "$1/_dockerauth"; COMP_WORDS=($2); COMP_CWORD=$((${#COMP_WORDS[@]} - 1))
			_dockerauth; printf '%s\n' "${COMPREPLY[@]}"`
		return completed(t, exec.Command("bash", "--norc", "-uc", script, "bash", dir, line))
	},
	// zsh completes at a terminal only: the line is typed, with Tab and Enter, and then run.
	"zsh": func(t *testing.T, dir, line string) []string {
		script := `zmodload zsh/zpty
			zpty shell zsh -f -i
			zpty -w shell "PS1= fpath=($1 \$fpath); autoload -Uz compinit; compinit -u -D"
			zpty -w shell 'dockerauth() { print -r -- GOT"<$*>" }'
			zpty -n -w shell $2$'\t\n'
			zpty -r shell typed '*GOT<*>*'
			print -r -- ${${typed##*GOT<}%%>*}`
		words := completed(t, exec.Command("timeout", "30", "zsh", "-f", "-c", script, "zsh", dir, line))
		return words[len(words)-1:]
	},
	"fish": func(t *testing.T, dir, line string) []string {
		script := `source $argv[1]/_dockerauth; complete -C $argv[2] | string replace -r '\t.*' ''`
		return completed(t, exec.Command("fish", "--no-config", "-c", script, dir, line))
	},
}

func completed(t *testing.T, cmd *exec.Cmd) []string {
	t.Helper()
	cmd.Dir = t.TempDir()
	cmd.Env = []string{"PATH=/usr/local/bin:/usr/bin:/bin", "HOME=" + cmd.Dir, "TERM=dumb"}
	o := run(t, "", cmd)
	if words := strings.Fields(o.stdout); o.status <= 1 && len(words) > 0 {
		return words
	}
	t.Fatal(o)
	return nil
}

func TestShellsCompleteCommandsFlagsAndValues(t *testing.T) {
	t.Parallel()
	need(t, "completion (Debian: bash, zsh, fish)", "bash", "zsh", "fish")
	for shell, complete := range completers {
		t.Run(shell, func(t *testing.T) {
			t.Parallel()
			dir := t.TempDir()
			script := run(t, "", exec.Command(binary(t), "completion", shell))
			file := writeFile(t, filepath.Join(dir, "_dockerauth"), script.stdout, 0o644)
			run(t, "", exec.Command(shell, "-n", file)).must(t)
			for line, want := range map[string]string{
				"dockerauth ch":                          "check",
				"dockerauth check --j":                   "--json",
				"dockerauth check --json --registry-c":   "--registry-config",
				"dockerauth check --config /etc/nsswitc": "/etc/nsswitch.conf",
				"dockerauth check --login roo":           "root",
				"dockerauth init --ren":                  "--renew-certificate",
				"dockerauth init --key-type e":           "ed25519",
				"dockerauth init --dir /usr/shar":        "/usr/share",
				"dockerauth fastcgi --adm":               "--admin",
				"dockerauth completion f":                "fish",
				"dockerauth help expl":                   "explain",
				"dockerauth explain --grou":              "--groups",
				"dockerauth tok":                         "token",
				"dockerauth token rev":                   "revoke",
				"dockerauth token issue --rob":           "--robot",
				"dockerauth token revoke --kind pers":    "personal",
				"dockerauth token list --user roo":       "root",
				"dockerauth logins --js":                 "--json",
			} {
				got := complete(t, dir, line)
				if len(got) != 1 || strings.TrimSuffix(got[0], "/") != want { // a folder may get a slash
					t.Errorf("%s: %q, want %q", line, got, want)
				}
			}
		})
	}
}

// Each shell looks in a folder of its own for what packages install.
func TestThePackagesInstallCompletion(t *testing.T) {
	t.Parallel()
	need(t, "packages", "dpkg-deb", "rpm")
	root := t.TempDir()
	run(t, "", exec.Command("dpkg-deb", "-x", packageFile(t, olderVersion, ".deb"), root)).must(t)
	files := strings.Fields(run(t, "", exec.Command("rpm", "-qlp", packageFile(t, olderVersion, ".rpm"))).stdout)
	for shell, file := range map[string]string{
		"bash": "/usr/share/bash-completion/completions/dockerauth",
		"fish": "/usr/share/fish/vendor_completions.d/dockerauth.fish",
		"zsh":  "/usr/share/zsh/vendor-completions/_dockerauth",
	} {
		want := run(t, "", exec.Command(binary(t), "completion", shell)).stdout
		if got := readFile(t, root+file); got != want {
			t.Errorf("%s has\n%s", file, got)
		}
		file = strings.Replace(file, "vendor-completions", "site-functions", 1)
		if !slices.Contains(files, file) {
			t.Errorf("the rpm has no %s", file)
		}
	}
}
