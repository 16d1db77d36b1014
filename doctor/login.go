package command

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/user"
	"strings"
	"time"

	"dockerauth/access"
	"dockerauth/handler"
	"dockerauth/pamauth"
)

// maxTyped is how many bytes of a line are read: a longer one is no password, PAM takes 512.
const maxTyped = 1024

// examineLogin holds a conversation for somebody who is there to type the password.
func (c *checkup) examineLogin() {
	if entry := access.Blacklist(c.config.BlacklistedUsers).Find(c.login, nil); entry != "" {
		c.fail("login", fmt.Sprintf("%q is blacklisted, by the entry %q", c.login, entry), "the service refuses it without asking PAM",
			"take the entry out of blacklisted_users in "+c.config.Path+" if the account is meant to come in")
		return
	}
	os.Clearenv() // as in the service: modules run programs, and nothing of ours is theirs
	harden(c.streams.Err)
	password, how, err := c.askPassword()
	if err != nil {
		c.fail("login", "there is no password: "+err.Error(), "", "type it at the prompt, or let standard input begin with a line that is it")
		return
	}
	c.logIn(OneConversation(c.config, c.streams.Err), password, how)
}

// askPassword reads it from a terminal that does not show it, or else the first line of standard input.
func (c *checkup) askPassword() (password handler.Secret, how string, err error) {
	if isTerminal(c.streams.In) {
		line, err := readHidden(c.streams.In, c.streams.Err, fmt.Sprintf("Password of %q: ", c.login))
		return handler.Secret(line), "the password that was typed", err
	}
	line, err := readLine(c.streams.In)
	return handler.Secret(line), "the first line of standard input as password", err
}

// readLine reads byte by byte, so that what follows the line stays where it is.
func readLine(in io.Reader) (string, error) {
	var line []byte
	for one := make([]byte, 1); len(line) <= maxTyped; {
		n, err := in.Read(one)
		switch {
		case n == 1 && one[0] == '\n':
			return finished(line)
		case n == 1:
			line = append(line, one[0])
		case err == io.EOF:
			return finished(line)
		case err != nil:
			return "", err
		}
	}
	return "", fmt.Errorf("the line is longer than %d bytes", maxTyped)
}

func finished(line []byte) (string, error) {
	password := strings.TrimSuffix(string(line), "\r")
	if password == "" {
		return "", errors.New("the line is empty")
	}
	return password, nil
}

// listener hears what PAM tells the service, for the person who wants to see it.
type listener struct {
	pamauth.Conversation
	account pamauth.Account
}

func (l *listener) Hold(ctx context.Context, login pamauth.Login) (account pamauth.Account, err error) {
	login.Groups = true
	account, err = l.Conversation.Hold(ctx, login)
	l.account = account
	return account, err
}

// logIn asks for a token as the service does, without its guard: whoever reads config.yml and the key is not guessing.
func (c *checkup) logIn(conversation pamauth.Conversation, password handler.Secret, how string) {
	heard := &listener{Conversation: conversation}
	endpoint := NewHandler(c.config, heard, nil, slog.New(slog.DiscardHandler)).Endpoint
	endpoint.FailureDelay = 0
	began := time.Now()
	_, err := endpoint.Token(context.Background(), handler.Request{Grant: handler.GrantPassword, User: c.login, Password: password, Service: c.audience()})
	took := time.Since(began).Round(time.Millisecond)
	if err != nil {
		c.refused(err)
		return
	}
	c.ok("login", "PAM lets %q in, after %s", c.login, took)
	c.ok("login.as", "%s asked, with %s; whether the service may ask is seen as its user with its groups: setpriv --reuid=%s --regid=GROUP --groups=GROUPS dockerauth check --login NAME",
		myself(), how, cmp.Or(c.as, "USER"))
	if heard.account.Name != c.login {
		c.ok("login.name", "PAM calls the account %q, and so do tokens, rules and the blacklist", heard.account.Name)
	}
	c.showGroups(heard.account.Groups)
	c.showRules(access.Who{Name: heard.account.Name, Groups: groupsOf(heard.account.Groups), Service: c.audience()})
}

// audience is the one that is asked for.
func (c *checkup) audience() string {
	for _, name := range c.config.Audience {
		if name == c.service {
			return name
		}
	}
	return c.config.Audience[0]
}

// refused tells "no" from "broken". The remedy of pamauth is on a line of its own.
func (c *checkup) refused(err error) {
	what, remedy, _ := strings.Cut(err.Error(), "\n")
	remedy = strings.TrimSpace(remedy)
	if errors.Is(err, handler.ErrRefused) {
		if remedy == "" {
			remedy = "PAM_AUTH_ERR is a wrong password or a locked account; for others see the account (chage -l NAME) and the system's authentication log (journalctl SYSLOG_FACILITY=10, or /var/log/auth.log)"
		}
		c.fail("login", what, fmt.Sprintf("the answer is no, asked by %s", myself()), remedy)
		return
	}
	c.fail("login", what, fmt.Sprintf("there is no answer, asked by %s; the service says 503", myself()), remedy)
}

// myself is who asks.
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

// showRules says what the rules give, and why: for a repository in the account's own namespace, and for what the rules speak of.
func (c *checkup) showRules(who access.Who) {
	q := question{config: c.config, who: who}
	granted := false
	for _, scope := range c.config.Access.Examples(who) {
		for _, f := range q.explain(scope) {
			verdict := "refused"
			if f.Granted {
				verdict, granted = "granted", true
			}
			c.ok("login.rules", "%s %s is %s: %s", f.Resource, f.Action, verdict, q.because(f))
		}
	}
	if !granted {
		c.warn("login.rules", fmt.Sprintf("nothing of this is granted to %q", who.Name), "a login succeeds, and pulls and pushes fail",
			"see the access section of "+c.config.Path+", and dockerauth explain")
	}
}
