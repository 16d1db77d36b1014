package e2e

import (
	"fmt"
	"net/http"
	"os/exec"
	"os/user"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
)

const newUnixPassword = "a new and different staple"

// accountChange is what happens to an account after tokens were issued for it.
type accountChange struct {
	name    string
	account string
	apply   func(t *testing.T, name string)
	want    [4]int // status of each of the tokens below
	undo    func(t *testing.T, name string)
}

// The tokens of each account.
const (
	aRefresh = iota
	aPersonal
	aKeep
	aRobot
)

var tokenNames = [4]string{"refresh token", "personal token", "personal token with --keep", "robot's token"}

var (
	allAccepted = [4]int{200, 200, 200, 200}
	allRefused  = [4]int{401, 401, 401, 401}
)

func changeWith(command ...string) func(t *testing.T, name string) {
	return func(t *testing.T, name string) { mustRun(t, command[0], append(slices.Clone(command[1:]), name)...) }
}

func setPassword(password string) func(t *testing.T, name string) {
	return func(t *testing.T, name string) {
		run(t, name+":"+password+"\n", exec.Command("chpasswd")).must(t)
	}
}

// recreate deletes an account and makes it again, with the same password.
func recreate(uidOffset int) func(t *testing.T, name string) {
	return func(t *testing.T, name string) {
		account, err := user.Lookup(name)
		if err != nil {
			t.Fatal(err)
		}
		uid, _ := strconv.Atoi(account.Uid)
		mustRun(t, "userdel", name)
		mustRun(t, "useradd", "-M", "-s", "/usr/sbin/nologin", "-u", fmt.Sprint(uid+uidOffset), name)
		setPassword(unixPassword)(t, name)
	}
}

// accountChanges have an account each, so that all are judged together.
var accountChanges = []accountChange{
	{"nothing", "same", func(*testing.T, string) {}, allAccepted, nil},
	{"the password is changed", "passwd", setPassword(newUnixPassword), [4]int{401, 401, 200, 200}, nil},
	{"the password is set to what it was", "reset", setPassword(unixPassword), [4]int{401, 401, 200, 200}, nil},
	{"usermod -L", "lock", changeWith("usermod", "-L"), allRefused, changeWith("usermod", "-U")},
	{"passwd -d", "empty", changeWith("passwd", "-q", "-d"), [4]int{401, 401, 200, 200}, nil},
	{"it is made again with the same uid", "again", recreate(0), [4]int{401, 401, 200, 200}, nil},
	{"it is made again with another uid", "other", recreate(20000), allRefused, nil},
	{"it is deleted", "gone", changeWith("userdel"), allRefused, func(t *testing.T, name string) {
		mustRun(t, "useradd", "-M", name) // which the end of the test deletes
	}},
	{"it has expired", "old", changeWith("chage", "-E", "2001-01-01"), allRefused, changeWith("chage", "-E", "-1")},
}

// groupRules let only a group push.
const groupRules = "access:\n- allow: [pull]\n  to: [users]\n- allow: [pull, push]\n  to: [\"@games\"]\n"

// TestTokensFollowTheAccount changes real accounts under the tokens that were issued for them.
func TestTokensFollowTheAccount(t *testing.T) {
	accounts := []unixAccount{{suffix: "group"}}
	for _, ch := range accountChanges {
		accounts = append(accounts, unixAccount{suffix: ch.account})
	}
	names := makeAccounts(t, accounts)
	state := sharedState(t)
	clients := readAccounts(t, "state: "+state+"\n"+groupRules)
	issued := map[string][4]keptToken{} // in the folder that all front ends share
	for _, a := range accounts {
		name := names[a.suffix]
		scope := []string{"--scope", "repository:**:pull,push"}
		issued[a.suffix] = [4]keptToken{
			aPersonal: clients[0].issue(t, name, scope...),
			aKeep:     clients[0].issue(t, name, append(scope, "--keep")...),
			aRobot:    clients[0].issue(t, name, append(scope, "--robot", "jenkins")...),
		}
	}
	refresh := map[string]map[string]string{} // by front end and account
	for _, c := range clients {
		refresh[c.name] = map[string]string{}
	}
	const pushing = serviceIs + "&scope=repository:team/app:pull,push&offline_token=true"

	// judge compares the answers to all tokens of some accounts.
	judge := func(t *testing.T, c onFrontend, wanted map[string][4]int) {
		t.Helper()
		var requests, labels []string
		var want []int
		for account, status := range wanted {
			for i := range status {
				send := kept(issued[account][i], pushing)
				if i == aRefresh {
					send = post("grant_type=refresh_token&refresh_token=" + refresh[c.name][account] + "&" + serviceIs)
				}
				requests, want = append(requests, send(c.client)), append(want, status[i])
				labels = append(labels, account+", "+tokenNames[i])
			}
		}
		for i, a := range c.askAll(t, requests) {
			if a.status != want[i] {
				t.Errorf("%s: status %d, want %d", labels[i], a.status, want[i])
			}
			if a.status == http.StatusOK && i%4 != aRefresh && a.token.RefreshToken != nil {
				t.Errorf("%s: the answer has a refresh token", labels[i])
			}
		}
	}
	grantedTo := func(t *testing.T, c onFrontend, account, want string) {
		t.Helper()
		sends := []func(*client) string{
			post("grant_type=refresh_token&refresh_token=" + refresh[c.name][account] +
				"&scope=repository:team/app:pull,push&" + serviceIs),
			kept(issued[account][aPersonal], pushing), kept(issued[account][aRobot], pushing),
		}
		for _, send := range sends {
			if got := c.ask(t, send).granted(t, c.client); got != want {
				t.Errorf("granted %q, want %q", got, want)
			}
		}
	}

	each(t, "before", clients, func(t *testing.T, c onFrontend) {
		var logins []string
		for _, a := range accounts {
			c.keepSecret(shadowField(t, names[a.suffix]))
			logins = append(logins, login(names[a.suffix], unixPassword, serviceIs+"&offline_token=true")(c.client))
		}
		for i, a := range c.askAll(t, logins) {
			if a.token.RefreshToken == nil {
				t.Fatalf("log %s in: status %d, no refresh token", accounts[i].suffix, a.status)
			}
			refresh[c.name][accounts[i].suffix] = *a.token.RefreshToken
		}
		before := map[string][4]int{}
		for _, ch := range accountChanges {
			before[ch.account] = allAccepted
		}
		judge(t, c, before)
		grantedTo(t, c, "group", "repository:team/app:pull")
	})

	wanted, undone := map[string][4]int{}, map[string][4]int{}
	for _, ch := range accountChanges {
		ch.apply(t, names[ch.account])
		wanted[ch.account] = ch.want
		if ch.undo != nil && ch.account != "gone" {
			undone[ch.account] = allAccepted
		}
	}
	mustRun(t, "usermod", "-a", "-G", "games", names["group"])
	each(t, "after", clients, func(t *testing.T, c onFrontend) {
		judge(t, c, wanted)
		grantedTo(t, c, "group", "repository:team/app:pull,push")
		again := c.ask(t, login(names["passwd"], newUnixPassword, serviceIs+"&offline_token=true"))
		if again.token.RefreshToken == nil {
			t.Fatalf("log in with the new password: status %d: %s", again.status, again.body)
		}
		renewed := c.ask(t, post("grant_type=refresh_token&refresh_token="+*again.token.RefreshToken+"&"+serviceIs))
		if renewed.status != http.StatusOK {
			t.Errorf("a refresh token of the new password: status %d: %s", renewed.status, renewed.body)
		}
	})

	for _, ch := range accountChanges {
		if ch.undo != nil {
			ch.undo(t, names[ch.account])
		}
	}
	each(t, "undone", clients, func(t *testing.T, c onFrontend) { judge(t, c, undone) })

	for _, c := range clients {
		c.t = t
		c.checkSecrets(t)
		c.checkFiles(t, state)
	}
}

// TestTokenCommandsOfOtherUsers runs the commands without root.
func TestTokenCommandsOfOtherUsers(t *testing.T) {
	name := makeAccounts(t, []unixAccount{{suffix: "token"}})["token"]
	c := readsAccounts(t, httpFrontend, "state: state\n")
	theirs := c.issue(t, name, "--scope", jenkinsScope)
	as := func(uid, gid int, args ...string) output {
		cmd := c.command(args...)
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		return run(t, "", cmd)
	}
	robot := []string{"token", "issue", "--user", name, "--robot", "ci", "--scope", jenkinsScope}
	personal := []string{"token", "issue", "--user", name, "--scope", jenkinsScope}
	list, revoke := []string{"token", "list"}, []string{"token", "revoke", theirs.id}
	for _, tt := range []struct {
		name     string
		uid, gid int
		args     []string
		says     string // "" = it works
	}{
		{"the owner of the folder lists tokens", c.web.uid, c.web.gid, list, ""},
		{"the owner of the folder issues a robot's token", c.web.uid, c.web.gid, robot, ""},
		{"the owner of the folder issues a token that outlives the password", c.web.uid, c.web.gid,
			append(personal, "--keep"), ""},
		{"the owner of the folder issues one that is to end with the password", c.web.uid, c.web.gid, personal,
			"run it as root"},
		{"another user lists tokens", 65534, 65534, list, "sudo"},
		{"another user issues a token", 65534, 65534, robot, "sudo"},
		{"another user revokes a token", 65534, 65534, revoke, "sudo"},
		{"another user lists logins", 65534, 65534, []string{"logins"}, "sudo"},
		{"the owner of the folder revokes a token", c.web.uid, c.web.gid, revoke, ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := as(tt.uid, tt.gid, tt.args...)
			if (o.status == 0) != (tt.says == "") || !strings.Contains(o.stderr, tt.says) {
				t.Errorf("%v, want %q", o, tt.says)
			}
			if tt.says != "" && (o.stdout != "" || strings.Contains(o.stderr, "dka_")) {
				t.Errorf("it prints %q", o.stdout)
			}
		})
	}
	if a := c.ask(t, kept(theirs, serviceIs)); a.status != http.StatusUnauthorized {
		t.Errorf("a revoked token: status %d", a.status)
	}
	for _, path := range append(glob(t, c.path("state/*")), c.logFile) {
		if uid, _ := ownerOf(t, path); uid != c.web.uid {
			t.Errorf("%s belongs to uid %d after root's commands, want the service's %d", path, uid, c.web.uid)
		}
	}
}

// TestTokensOfAccountsThatCannotBeLookedUp uses tokens with a service that may not read
// /etc/shadow: what depends on the password cannot be checked, and is never accepted.
func TestTokensOfAccountsThatCannotBeLookedUp(t *testing.T) {
	names := makeAccounts(t, []unixAccount{{suffix: "unread"}})
	name, state := names["unread"], sharedState(t)
	reads := readsAccounts(t, httpFrontend, "state: "+state+"\n")
	blind := newClient(openFrontend(t, httpFrontend, envOptions{config: "state: " + state + "\n",
		// The account phase of pam_unix would need the file too.
		pam: func(*testEnv) string { return "auth required pam_deny.so\naccount required pam_permit.so\n" }}))
	personal := reads.issue(t, name, "--scope", jenkinsScope)
	robot := reads.issue(t, name, "--scope", jenkinsScope, "--robot", "ci")
	reads.expect(t, map[string]int{"personal": 200, "robot": 200}, map[string]func(c *client) string{
		"personal": kept(personal, serviceIs), "robot": kept(robot, serviceIs)})
	blind.expect(t, map[string]int{"personal": 503, "robot": 200}, map[string]func(c *client) string{
		"personal": kept(personal, serviceIs), "robot": kept(robot, serviceIs)})
	lines := blind.awaitRequestLines(2)
	if !slices.ContainsFunc(lines, func(line map[string]any) bool {
		return strings.Contains(fmt.Sprint(line["reason"]), "/etc/shadow")
	}) {
		t.Errorf("the log does not say what cannot be read: %v", lines)
	}
}
