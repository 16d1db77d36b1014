package doctor

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"dockerauth/pamauth"
)

const (
	alicesPassword = "wonderland-password"
	loginConfig    = plainConfig + "blacklisted_users: [root, \"@banned\"]\n"
)

// desk stands in for PAM: its conversations are tested in pamauth and e2e.
type desk struct{ asked int }

func (d *desk) Authenticate(_ context.Context, l pamauth.Login) (pamauth.Account, error) {
	d.asked++
	account := pamauth.Account{Name: strings.ToLower(l.User), Groups: []pamauth.Group{{Name: "staff", ID: 1001}}}
	switch {
	case l.User == "broken":
		return account,
			fmt.Errorf("%w: authenticate: PAM_AUTHINFO_UNAVAIL (9)\n  give the program the right", pamauth.ErrBroken)
	case l.User == "zed":
		account.Groups = []pamauth.Group{{Name: "banned", ID: 1002}}
	case l.User == "loner":
		account.Groups = nil
	case l.Password.Reveal() != alicesPassword:
		return account, fmt.Errorf("%w: authenticate: PAM_AUTH_ERR (7)", pamauth.ErrRefused)
	}
	return account, nil
}

func TestALoginIsShownWithWhatItGives(t *testing.T) {
	const rules = "access:\n  - {allow: [pull], repositories: [\"public/**\"], to: [users]}\n  - {allow: [push], " +
		"repositories: [\"team/*\"], to: [\"@other\"]}\n"
	for _, test := range []struct {
		name, config, user, password string
		complaints                   string
		says                         []string
	}{
		{"with everything", loginConfig, "alice", alicesPassword, "",
			[]string{`PAM lets "alice" in`, "staff (1001)",
				"repository:alice/app push is granted: there is no access section", "setpriv"}},
		{"under another name", loginConfig, "ALICE", alicesPassword, "",
			[]string{`PAM calls the account "alice"`, "repository:alice/app pull"}},
		{"without groups", loginConfig, "loner", alicesPassword, "", []string{"no Unix groups"}},
		{"with rules", loginConfig + rules, "alice", alicesPassword, "",
			[]string{"repository:public/app pull is granted: by the rule at ",
				"repository:team/app push is refused: nearest is the rule at ", "but it is for @other"}},
		{"with rules that give nothing", loginConfig + "access: []\n", "alice", alicesPassword, "warning login.rules",
			[]string{"nothing of this is granted"}},
		{"with a wrong password", loginConfig, "alice", "a-guess", "error login",
			[]string{"PAM_AUTH_ERR (7)", "wrong password or a locked account", "journalctl"}},
		{"that is blacklisted by its group", loginConfig, "zed", alicesPassword, "error login",
			[]string{`by the entry "@banned"`}},
		{"that needs a token", loginConfig + "passwords: {except: [alice]}\n", "alice", alicesPassword, "error login",
			[]string{"may use personal and robot tokens only", "answers a right password as a wrong one",
				"dockerauth token issue"}},
		{"of a robot, with a password", loginConfig, "alice+jenkins", "a-guess", "error login",
			[]string{`"alice+jenkins" is the user name of a robot of "alice"`, "takes that robot's token",
				"dockerauth token issue --user alice --robot jenkins --scope SCOPE --config "}},
		{"with a token", loginConfig, "alice", "dka_" + alicesPassword, "",
			[]string{"only passwords are tried here", "docker login -u alice REGISTRY"}},
		{"that is answered by nobody", loginConfig, "broken", alicesPassword, "error login",
			[]string{"PAM_AUTHINFO_UNAVAIL (9)", "the service says 503; give the program the right"}},
		{"with a name that is none", loginConfig, "alice ", alicesPassword, "error login",
			[]string{"invalid character"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := checkupOf(t, test.config)
			c.login = test.user
			c.logIn(&desk{}, "", "nothing") // an empty password is refused without asking
			if len(c.complaints()) != 1 {
				t.Errorf("an empty password: %s", c.text())
			}
			c.findings = findings{}
			d := &desk{}
			c.logIn(d, pamauth.Password(test.password), "a test")
			c.expect(t, test.complaints, "")
			for _, text := range test.says {
				c.expect(t, test.complaints, text)
			}
			if strings.Contains(c.text(), test.password) || strings.Contains(c.text(), "eyJ") {
				t.Errorf("a finding holds the password or a token: %s", c.text())
			}
		})
	}
}
