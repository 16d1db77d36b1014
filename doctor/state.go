package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"net"
	"os"
	"slices"
	"strings"
	"syscall"
	"time"

	"dockerauth/config"
	"dockerauth/service"
)

// losesPrefix begins the answer to tryDurable that is known.
const losesPrefix = "it loses "

// expirePrefix begins the answer to tryTokens that names tokens, one a line.
const expirePrefix = "expire:\n"

func expiring(place string) error {
	soon, err := service.ExpiringTokens(place)
	if err != nil || len(soon) == 0 {
		return err
	}
	text := expirePrefix
	for _, t := range soon {
		text += fmt.Sprintf("%s %s %s\n", t.ID, t.Expires.Format(time.DateOnly), t.Login())
	}
	return errors.New(text)
}

// judgeExpiring takes the answer to tryTokens.
func (c *checkup) judgeExpiring(answer string) {
	const most = 5 // that are named
	list, ok := strings.CutPrefix(answer, expirePrefix)
	if !ok {
		c.fail("rights.state", "tokens-unusable", "the tokens cannot be listed: "+answer,
			"those that cannot be read get 503", "dockerauth token list --config "+word(c.settings.Path))
		return
	}
	var named, commands []string
	lines := strings.Split(strings.TrimSpace(list), "\n")
	for _, line := range lines[:min(most, len(lines))] {
		id, rest, _ := strings.Cut(line, " ")
		day, login, _ := strings.Cut(rest, " ")
		named = append(named, fmt.Sprintf("%s of %s on %s", id, login, day))
		commands = append(commands, command("dockerauth", "token", "rotate", id, "--config", c.settings.Path))
	}
	if more := len(lines) - len(named); more > 0 {
		named = append(named, fmt.Sprint(more, " more"))
	}
	c.warn("tokens", "tokens-expire", "within two weeks expire "+strings.Join(named, ", "),
		"who uses such a token is refused from then on", inTurn(commands...))
}

// redisCLI is a command for the state server. Its password does not show in a list of processes.
func (c *checkup) redisCLI(args ...string) string {
	words, passwordFile := service.StateCLI(c.settings.State)
	text := command(append(words, args...)...)
	if passwordFile != "" {
		text = `REDISCLI_AUTH="$(cat ` + word(passwordFile) + `)" ` + text
	}
	return text
}

// setAtServer sets what redis.conf says.
func (c *checkup) setAtServer(settings ...[2]string) string {
	var commands []string
	for _, set := range settings {
		commands = append(commands, c.redisCLI("CONFIG", "SET", set[0], set[1]))
	}
	return inTurn(append(commands, c.redisCLI("CONFIG", "REWRITE"))...)
}

// stateChecks are for the tokens and revocations in a folder or at a server. What is said of it
// already is not said again.
func (c *checkup) stateChecks(a *runAs) (trials []permissionCheck) {
	place, isServer := c.settings.State, config.IsStateServer(c.settings.State)
	if place == "" {
		return nil
	}
	unlessBroken := func(judge func(why string)) func(string) {
		return func(why string) {
			if why != "" && !slices.ContainsFunc(c.list, func(f finding) bool {
				return f.isComplaint() && f.Subject == "rights.state"
			}) {
				judge(why)
			}
		}
	}
	trials = append(trials, permissionCheck{attempt{tryKept, place}, unlessBroken(func(why string) {
		if why == syscall.ENOENT.Error() { // a folder that is made later
			return
		}
		why, hint, _ := strings.Cut(why, "\n")
		what := fmt.Sprintf("%s cannot use the tokens in %s: %s", a.name, place, why)
		if isServer {
			what = "the state server is not fit for tokens: " + why
			if strings.Contains(hint, "set maxmemory-policy volatile-ttl") {
				hint = c.setAtServer([2]string{"maxmemory-policy", "volatile-ttl"})
			}
		}
		c.fail("rights.state", "tokens-unusable", what, "refresh tokens, and tokens that people keep, get 503",
			cmp.Or(strings.TrimSpace(hint), "look into its log"))
	}), ""})
	trials = append(trials, permissionCheck{attempt{tryTokens, place}, unlessBroken(func(why string) {
		if why != syscall.ENOENT.Error() {
			c.judgeExpiring(why)
		}
	}), ""})
	if !isServer {
		return trials
	}
	return append(trials, permissionCheck{attempt{tryDurable, place}, unlessBroken(func(why string) {
		loses, known := strings.CutPrefix(why, losesPrefix)
		if !known {
			c.notAsked("rights.state", "what the state server loses when it is killed: "+why,
				c.redisCLI("CONFIG", "GET", "appendonly"))
			return
		}
		c.warn("rights.state", "state-forgets", "the state server loses "+loses+" when it is killed",
			"what was revoked can be used again, and a new token cannot",
			c.setAtServer([2]string{"appendonly", "yes"}, [2]string{"appendfsync", "always"}))
	}), ""})
}

// examineStateAddress looks at how a server is reached, and at the files that its address names.
func (c *checkup) examineStateAddress() {
	if !config.IsStateServer(c.settings.State) {
		return
	}
	if host := service.StateInClear(c.settings.State); host != "" {
		c.warn("rights.state", "state-not-encrypted", "the state server "+host+" is reached without TLS",
			"who is on the way to it can read names, make tokens and delete revocations",
			"let the server listen with TLS, and write rediss://"+net.JoinHostPort(host, "PORT")+"?ca=PATH")
	}
	for _, path := range service.StateFiles(c.settings.State) {
		info, err := os.Stat(path)
		if err != nil || info.Mode().Perm()&0o007 == 0 || !holdsSecret(path) {
			continue
		}
		c.warn("rights.state", "state-secret-open", "anyone on this machine can use "+path,
			"who has it can make tokens for any account, and delete revocations", "chmod o= "+word(path))
	}
}

// holdsSecret reports a file that is no certificate.
func holdsSecret(path string) bool {
	text, err := os.ReadFile(path)
	return err == nil && (!strings.Contains(string(text), "-----BEGIN CERTIFICATE") ||
		strings.Contains(string(text), "PRIVATE KEY"))
}
