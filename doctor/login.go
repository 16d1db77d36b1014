package doctor

import (
	"cmp"
	"fmt"
	"os"
	"os/user"
	"strings"
	"time"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
	"dockerauth/service"
)

// examineLogin holds a conversation with the password that the operator types.
func (c *checkup) examineLogin() {
	if entry := access.Blacklist(c.config.BlacklistedUsers).Find(c.login, nil); entry != "" {
		c.fail("login", "blacklisted", fmt.Sprintf("%q is blacklisted, by the entry %q", c.login, entry),
			"the service refuses it without asking PAM",
			"take the entry out of blacklisted_users in "+c.config.Path+" if the account is meant to come in")
		return
	}
	if err := c.trustStack(); err != nil {
		cause, _ := cli.SplitHint(err)
		c.fail("login", "login-untrusted", "PAM is not asked: "+cause,
			"root would run what another user wrote",
			fmt.Sprintf("ask as that user: sudo -u %s dockerauth check --config %s --login %s", word(c.stackOwner()),
				word(c.config.Path), word(c.login)))
		return
	}
	service.Harden(c.streams.Err)
	password, typed, err := cli.ReadPassword(c.streams.In, c.streams.Err, fmt.Sprintf("Password of %q: ", c.login))
	if err != nil {
		c.fail("login", "no-password", "there is no password: "+err.Error(), "",
			"type it at the prompt, or let standard input begin with a line that is it")
		return
	}
	how := "the first line of standard input as password"
	if typed {
		how = "the password that was typed"
	}
	c.logIn(service.OneConversation(c.config, c.streams.Err), pamauth.Password(password), how)
}

// trustStack refuses, for root, a stack of which another user could have written a part: a module
// or a command of pam_exec runs as root.
func (c *checkup) trustStack() error {
	stack := service.Stack(c.config)
	paths, _ := stack.Sources() // PAM is not asked either where it is faulty
	lines, _ := stack.Parse()
	for _, l := range lines {
		if path, err := pamauth.FindModule(l.Module); err == nil {
			paths = append(paths, path)
		}
	}
	for _, path := range paths {
		if err := checkTrust(path); err != nil {
			return err
		}
	}
	return nil
}

// stackOwner is the user as which to ask PAM.
func (c *checkup) stackOwner() string {
	if name, _, _ := strings.Cut(c.as, ":"); name != "" && name != "root" {
		return name
	}
	if _, uid, _, known := ownerOf(c.config.Path); known && uid != 0 {
		return userName(uid)
	}
	return likelyUser()
}

// logIn asks for a token as the service does, but uncounted: an operator who reads config.yml and
// the key is not guessing.
func (c *checkup) logIn(conversation pamauth.Authenticator, password pamauth.Password, how string) {
	if service.IsToken(password.Reveal()) {
		c.notAsked("login", fmt.Sprintf("whether this token lets %q in: only passwords are tried here", c.login),
			command("docker", "login", "-u", c.login, "REGISTRY"))
		return
	}
	began := time.Now()
	account, refused,
		err := service.TryLogin(c.config, conversation, pamauth.Login{User: c.login, Password: password}, c.audience())
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		c.noLogin(err, refused)
		return
	}
	c.ok("login", "PAM lets %q in, after %s", c.login, took)
	c.ok("login.as",
		"%s asked, with %s; whether the service may ask is seen as its user with its groups: setpriv --reuid=%s "+
			"--regid=GROUP --groups=GROUPS dockerauth check --login NAME",
		myself(), how, cmp.Or(c.as, "USER"))
	if account.Name != c.login {
		c.ok("login.name", "PAM calls the account %q, and so do tokens, rules and the blacklist", account.Name)
	}
	c.showGroups(account.Groups)
	c.showRules(access.Client{Name: account.Name, Groups: service.Groups(account.Groups), Service: c.audience()})
}

// audience is the service to ask for: the registry's, or the first.
func (c *checkup) audience() string {
	for _, name := range c.config.Audience {
		if name == c.service {
			return name
		}
	}
	return c.config.Audience[0]
}

// noLogin tells "no" from "broken", and names the line of the PAM service that refuses, where that
// can be known. The remedy of pamauth is on a line of its own.
func (c *checkup) noLogin(err error, refused bool) {
	what, remedy, _ := strings.Cut(err.Error(), "\n")
	remedy = strings.TrimSpace(remedy)
	if !refused {
		c.fail("login", "login-unanswered", what,
			fmt.Sprintf("there is no answer, asked by %s; the service says 503", myself()), remedy)
		return
	}
	code := pamCode().FindString(what)
	account := newLocalAccount(c.login, c.config.PAM.Service)
	if owner, robot, found := strings.Cut(c.login, "+"); found && !account.known {
		c.fail("login", "login-refused", fmt.Sprintf("%q is the user name of a robot of %q", c.login, owner),
			"it takes that robot's token, and no password",
			"docker login takes the token as the password; make one: "+command("dockerauth", "token", "issue",
				"--user", owner, "--robot", robot, "--scope", "SCOPE", "--config", c.config.Path))
		return
	}
	why := "a wrong password or a locked account"
	if strings.Contains(what, "tokens only") {
		why = "the service answers a right password as a wrong one"
	}
	for said, phase := range map[string]string{": authenticate: ": "auth", ": account: ": "account"} {
		if !strings.Contains(what, said) || remedy != "" {
			continue
		}
		if l, why, found := c.refusedBy(phase, account); found {
			c.fail("login", "login-refused-by-rule", lineOf(l)+" "+why.what,
				fmt.Sprintf("%s, whatever the password", code), why.fix)
			return
		}
		if what, why, fix, found := c.refusalOf(phase, account, code); found {
			c.fail("login", "login-refused", what, why, fix)
			return
		}
		var lines []string
		for _, l := range c.candidates(phase, account) {
			lines = append(lines, lineOf(l))
		}
		if phase == "account" {
			why = "the account may not be used now"
		}
		if len(lines) > 0 {
			why += ", by " + strings.Join(lines, " or ")
		}
	}
	if remedy == "" {
		remedy = fmt.Sprintf("see the account: chage -l %s; and what the modules say: journalctl SYSLOG_FACILITY=10 "+
			"-n 20, or /var/log/auth.log", jwtsign.ShellWord(c.login))
	}
	c.fail("login", "login-refused", what, fmt.Sprintf("%s; asked by %s", why, myself()),
		remedy)
}

// pamCode finds the name of a result in the error of a conversation.
var pamCode = lazyRegexp(`PAM_[A-Z_]+`)

// myself is the user of this process.
func myself() string {
	account, err := user.Current()
	if err != nil {
		return fmt.Sprintf("uid %d", os.Geteuid())
	}
	return fmt.Sprintf("%q (uid %s)", account.Username, account.Uid)
}

func (c *checkup) showGroups(groups []pamauth.Group) {
	if len(groups) == 0 {
		c.ok("login.groups", "no Unix groups")
		return
	}
	names := make([]string, len(groups))
	for i, group := range groups {
		names[i] = fmt.Sprintf("%s (%d)", group.Name, group.ID)
	}
	c.ok("login.groups", "%s", strings.Join(names, ", "))
}

// showRules says what the rules grant and why, for a repository in the account's own namespace and
// for samples of what the rules name.
func (c *checkup) showRules(who access.Client) {
	q := evaluation{config: c.config, who: who}
	granted := false
	for _, scope := range c.config.Access.SampleScopes(who) {
		for _, f := range q.explain(scope) {
			verdict := "refused"
			if f.Granted {
				verdict, granted = "granted", true
			}
			c.ok("login.rules", "%s %s is %s: %s", f.Resource, f.Action, verdict, q.reason(f))
		}
	}
	if !granted {
		c.warn("login.rules", "nothing-granted", fmt.Sprintf("nothing of this is granted to %q", who.Name),
			"a login succeeds, and pulls and pushes fail",
			"see the access section of "+c.config.Path+", and dockerauth explain")
	}
}
