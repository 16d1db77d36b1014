package e2e

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"
)

// What docs/operations.md says to type finds who did what with which token.
func TestTheDocumentedQueriesFindWhatWasDone(t *testing.T) {
	for _, format := range []string{"json", "text"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			need(t, "a journal, jq", journalRemote, "journalctl", "jq")
			c := newClient(openFrontend(t, httpFrontend, envOptions{noLogFile: true,
				config: "state: state\nlog:\n  file: service.log\n  format: " + format + "\n"}))
			robot := c.issue(t, alice, "--robot", "jenkins", "--scope", "repository:**:pull")
			here, there := freshAddress(), freshAddress()
			status := func(want int, from string) {
				t.Helper()
				answer, body, err := exchange(from, c.address, kept(robot, serviceIs)(c))
				if err != nil || answer.StatusCode != want {
					t.Fatalf("%v %v %s, want %d", err, answer, body, want)
				}
			}
			status(http.StatusOK, here)
			status(http.StatusOK, here)
			status(http.StatusOK, there)
			c.revoke(t, robot.id, "--reason", "it was in a log")
			status(http.StatusUnauthorized, there)

			typed := func(name string, replace ...string) string {
				t.Helper()
				text := blockOf(t, "../docs/operations.md", "run", name)
				return run(t, "", exec.Command("sh", "-euc", strings.NewReplacer(replace...).Replace(text))).must(t)
			}
			found := func(name, got string, lines int, words ...string) {
				t.Helper()
				all := strings.Split(strings.TrimSpace(got), "\n")
				if len(all) != lines {
					t.Errorf("%s finds %d lines, want %d:\n%s", name, len(all), lines, got)
				}
				for _, word := range words {
					if !strings.Contains(got, word) {
						t.Errorf("%s does not find %s:\n%s", name, word, got)
					}
				}
			}
			if format == "text" {
				file := c.journalOf(t, map[string]string{"dockerauth.service": readFile(t, c.logFile)})
				here := []string{"journalctl", "journalctl --quiet -o cat --file " + file, "4fzR7cQ0kX", robot.id}
				found("audit-changes", typed("audit-changes", here...), 1, "event=token-revoked credential="+robot.id)
				found("audit-one", typed("audit-one", here...), 6, "token-issued", "token-used", "outcome=refused")
				return
			}
			file := []string{"/var/log/dockerauth/dockerauth.log", c.logFile}
			uses := typed("audit-uses", file...)
			found("audit-uses", uses, 2, "1 "+robot.id+" alice+jenkins robot "+there)
			first, _, _ := strings.Cut(strings.TrimSpace(uses), "\n")
			if want := "2 " + robot.id + " alice+jenkins robot " + here; first != want {
				t.Errorf("audit-uses begins with %q, want %q", first, want)
			}
			found("audit-refused", typed("audit-refused", file...), 1, robot.id+" "+there+" ", "it was in a log")
			found("audit-by", typed("audit-by", file...), 2, " token-issued "+robot.id+" alice+jenkins",
				" token-revoked "+robot.id+" alice+jenkins it was in a log")
		})
	}
}
