package service

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"
	"time"

	"dockerauth/access"
	"dockerauth/cli"
	"dockerauth/config"
	"dockerauth/credentials"
	"dockerauth/jwtsign"
	"dockerauth/pamauth"
)

// Tokens does the work of the commands token and logins. Root's process first reads what only root
// can: configuration, key and the account. Then it becomes the owner of the folder with the tokens.
type Tokens struct {
	Config  string    // path; "" = where FindConfig finds it
	Command string    // as it was typed: "token list"
	Stderr  io.Writer // for warnings

	pam     pamauth.Authenticator                                            // nil = that of the configuration
	inspect func(name string, key pamauth.StateKey) (pamauth.Account, error) // nil = pamauth.Inspect
}

func (t Tokens) inspectAccount(name string, key pamauth.StateKey) (pamauth.Account, error) {
	if t.inspect != nil {
		return t.inspect(name, key)
	}
	return pamauth.Inspect(name, key)
}

// IssuedToken is a new token. Its text is nowhere else.
type IssuedToken struct {
	Token  credentials.Token
	Secret credentials.Secret
	Logins []string // command lines that log in with it
}

// Issue makes a token, keeps its record, and gives it to deliver. One that was not delivered is
// taken back.
func (t Tokens) Issue(ctx context.Context, r TokenRequest, deliver func(IssuedToken) error) error {
	token, ttl, err := r.parse()
	if err != nil {
		return err
	}
	cfg, err := t.load()
	if err != nil {
		return err
	}
	by := operator() // before this process changes its user
	secret := credentials.NewSecret()
	account, err := t.account(ctx, cfg, r.User, secret)
	if err != nil {
		return err
	}
	token.User = account.Name
	if err := t.checkRobot(token); err != nil {
		return err
	}
	if token.State, err = stateFor(token, account); err != nil {
		return err
	}
	if err := t.checkRights(cfg, account, token); err != nil {
		return err
	}
	k, err := t.open(cfg)
	if err != nil {
		return err
	}
	defer k.close()
	k.by = by
	token.Created = time.Now()
	token.Expires = token.Created.Add(ttl)
	if token, err = k.records.Issue(ctx, secret, token); err != nil {
		return storeError(err)
	}
	k.logToken("token issued", EventIssued, token)
	return k.deliver(ctx, newIssuedToken(cfg, token, secret), deliver)
}

func newIssuedToken(cfg *config.Config, token credentials.Token, secret credentials.Secret) IssuedToken {
	i := IssuedToken{Token: token, Secret: secret}
	for _, registry := range cfg.Audience {
		i.Logins = append(i.Logins, fmt.Sprintf("docker login -u %s --password-stdin %s",
			jwtsign.ShellWord(token.Login()), jwtsign.ShellWord(registry)))
	}
	return i
}

func (k *keptTokens) deliver(ctx context.Context, i IssuedToken, deliver func(IssuedToken) error) error {
	failed := deliver(i)
	if failed == nil {
		return nil
	}
	const reason = "it could not be delivered"
	if err := k.records.Revoke(ctx, reason, i.Token.ID); err != nil {
		return fmt.Errorf("print token %s: %s, and then %w", i.Token.ID, cli.Cause(failed), err)
	}
	k.logToken("token revoked", EventRevoked, i.Token, because(reason)...)
	return fmt.Errorf("print token %s: %s\n  it is revoked: issue another", i.Token.ID, cli.Cause(failed))
}

// account looks the account up. PAM is asked too, as at each use: it may refuse the account, which
// is worth a warning, and it may know one that Unix does not, such as those of pam_userdb.
func (t Tokens) account(ctx context.Context, cfg *config.Config, name string, secret credentials.Secret) (
	pamauth.Account, error) {
	account, err := t.inspectAccount(name, secret.StateKey())
	if err != nil {
		return account, err
	}
	noAccount := noAccountError(name)
	conversation := t.pam
	if conversation == nil {
		if err := t.mayAskPAM(cfg); err != nil {
			cause, _ := cli.SplitHint(err)
			fmt.Fprintf(t.Stderr, "warning: PAM was not asked about %s, since root runs what it names: %s\n",
				account.Name, cause)
			if account.UID < 0 {
				return account, noAccount
			}
			return account, nil
		}
		conversation = OneConversation(cfg, t.Stderr)
	}
	known, err := conversation.Authenticate(ctx, pamauth.Login{User: name, AccountOnly: true,
		StateKey: secret.StateKey()})
	refused := errors.Is(err, pamauth.ErrRefused)
	switch {
	case account.UID >= 0 && refused:
		cause, _ := cli.SplitHint(err)
		cause = strings.TrimPrefix(cause, pamauth.ErrRefused.Error()+": ")
		fmt.Fprintf(t.Stderr, "warning: PAM refuses %s now, and the token with it: %s\n", account.Name, cause)
		return account, nil
	case account.UID >= 0:
		return account, nil // what PAM does now is no matter, and this process may lack the right to ask it
	case refused:
		return account, noAccount
	case err == nil:
		err = CheckUser(known.Name) // a module may have made it anything
	}
	if known.Name == account.Name { // as it was seen before this process became the owner
		known.Shadow = account.Shadow
	}
	return known, err
}

// noAccountError names the flags where the user name of a robot was given.
func noAccountError(name string) error {
	hint := "write its name as \"id\" shows it"
	if i := strings.LastIndexByte(name, '+'); i > 0 && credentials.IsRobot(name[i+1:]) {
		hint = fmt.Sprintf("for a robot: --user %s --robot %s", jwtsign.ShellWord(name[:i]), name[i+1:])
	}
	return fmt.Errorf("there is no account %q on this machine\n  %s", name, hint)
}

// mayAskPAM lets root ask PAM only as root's own files say. In other cases the owner of the folder
// asks, as the service does: this process becomes that owner.
func (t Tokens) mayAskPAM(cfg *config.Config) error {
	err := trustPAM(cfg)
	if err == nil || t.becomeOwner(cfg) != nil || os.Geteuid() == 0 {
		return err
	}
	return nil
}

// trustPAM refuses, for root's process, what another user could have written of the configuration,
// the service file and its modules.
func trustPAM(cfg *config.Config) error {
	if os.Geteuid() != 0 {
		return nil
	}
	paths, err := Stack(cfg).Sources()
	if err != nil {
		return err
	}
	lines, err := Stack(cfg).Parse()
	if err != nil {
		return err
	}
	for _, line := range lines {
		if path, err := pamauth.FindModule(line.Module); err == nil {
			paths = append(paths, path)
		}
	}
	for _, path := range append(paths, cfg.Path) {
		// What is not there is nobody's, where only root could make it.
		if err := pamauth.CheckRootOwned(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// checkRobot refuses a robot whose user name is that of an account: what either may do would be
// unclear in the log.
func (t Tokens) checkRobot(token credentials.Token) error {
	if token.Robot == "" {
		return nil
	}
	account, err := t.inspectAccount(token.Login(), nil)
	if err == nil && account.UID >= 0 {
		err = fmt.Errorf("the user name %q of the robot is that of an account\n  choose another name for --robot",
			token.Login())
	}
	return err
}

// stateFor is the state of an account that a token depends on. A personal token that ends with the
// password needs the entry in /etc/shadow, unless the account has none.
func stateFor(t credentials.Token, account pamauth.Account) (credentials.State, error) {
	state := accountState(account)
	if !t.Keep && state.Shadow == credentials.ShadowUnread && os.Geteuid() != 0 {
		return state, fmt.Errorf("/etc/shadow cannot be read, so a new password of %s could not end the token\n"+
			"  run it as root, or issue a token with --keep, which outlives the password", account.Name)
	}
	return state, nil
}

// checkRights refuses a blacklisted account, and warns of what the account may not do.
func (t Tokens) checkRights(cfg *config.Config, account pamauth.Account, token credentials.Token) error {
	var groups []access.Group
	if WantsGroups(cfg) {
		known, err := pamauth.Groups(account.Name)
		if err != nil {
			return err
		}
		groups = Groups(known)
	}
	if entry := access.Blacklist(cfg.BlacklistedUsers).Find(account.Name, groups); entry != "" {
		return cfg.ErrorAt(fmt.Errorf("%q is in the list, so %s gets nothing", entry, account.Name),
			"remove the entry, or choose another account", "blacklisted_users")
	}
	t.warnOfLock(account, "the token works all the same")
	who := access.Client{Name: account.Name, Groups: groups}
	for _, scope := range token.Scopes {
		t.warnOfRules(cfg, who, scope)
	}
	return nil
}

func (t Tokens) warnOfLock(account pamauth.Account, consequence string) {
	if account.Shadow.Locked {
		fmt.Fprintf(t.Stderr, "warning: %s is locked, as by usermod -L; %s\n", account.Name, consequence)
	}
}

// warnOfRules warns of actions on one repository that no rule grants now, from any address. Whether
// a pattern can be granted is not looked at.
func (t Tokens) warnOfRules(cfg *config.Config, who access.Client, limit string) {
	if strings.Contains(limit, "*") {
		return
	}
	scopes, _, err := access.ParseScopes([]string{limit})
	if err != nil || len(scopes) != 1 {
		return
	}
	refused := map[string]int{} // for how many audiences
	last := map[string]access.Decision{}
	for _, who.Service = range cfg.Audience {
		for _, d := range cfg.Access.Explain(who, scopes[0]) {
			if last[d.Action] = d; !d.Granted && !d.Elsewhere {
				refused[d.Action]++
			}
		}
	}
	for _, action := range scopes[0].Actions {
		if d := last[action]; refused[action] == len(cfg.Audience) {
			fmt.Fprintf(t.Stderr, "warning: %s may not %s %s now: %s\n  see dockerauth explain %s %s\n", who.Name,
				action, d.Resource, d.Reason, jwtsign.ShellWord(who.Name), jwtsign.ShellWord(limit))
		}
	}
}

// Rotate replaces a token by a new one, and gives that to deliver.
func (t Tokens) Rotate(ctx context.Context, id string, overlap time.Duration, deliver func(IssuedToken) error) error {
	cfg, err := t.load()
	if err != nil {
		return err
	}
	// The record says which account to look at, and after that this process may no longer be root.
	old, err := t.lookUp(ctx, cfg, id)
	if err != nil {
		return err
	}
	secret, state := credentials.NewSecret(), old.State
	account, err := t.inspectAccount(old.User, secret.StateKey())
	switch {
	case err != nil: // it matters below, where the state does
	case old.Keep && !old.State.Locked: // its state stays that of the first token
		t.warnOfLock(account, "the token is refused until it is unlocked")
	default:
		t.warnOfLock(account, "the token works all the same")
	}
	if !old.Keep {
		if err == nil {
			state, err = stateFor(old, account)
		}
		if err != nil {
			return err
		}
		if state.UID != old.State.UID {
			return fmt.Errorf("%s is another account now: uid %d, and the token is for uid %d\n"+
				"  dockerauth token revoke %s", old.User, state.UID, old.State.UID, id)
		}
	}
	k, err := t.open(cfg)
	if err != nil {
		return err
	}
	defer k.close()
	token, err := k.records.Rotate(ctx, id, secret, state, overlap)
	if err != nil {
		return tokenError(id, err)
	}
	k.logToken("token rotated", EventRotated, token, "replaces", id, "overlap", config.FormatDuration(overlap))
	return k.deliver(ctx, newIssuedToken(cfg, token, secret), deliver)
}

// Get returns a token's record.
func (t Tokens) Get(ctx context.Context, id string) (token credentials.Token, err error) {
	err = t.withStore(func(k *keptTokens) error {
		token, err = k.records.Get(ctx, id)
		return tokenError(id, err)
	})
	return token, err
}

// List returns the tokens of an account or a robot, or all, by login and ID. Without any, closest
// is a name that may be meant.
func (t Tokens) List(ctx context.Context, user string) (tokens []credentials.Token, closest string, err error) {
	var names []string
	err = t.withStore(func(k *keptTokens) error {
		return k.records.List(ctx, func(token credentials.Token) bool {
			if user == "" || strings.EqualFold(token.User, user) || strings.EqualFold(token.Login(), user) {
				tokens = append(tokens, token)
			}
			names = append(names, token.User, token.Login())
			return true
		})
	})
	slices.SortFunc(tokens, func(a, b credentials.Token) int {
		return cmp.Or(strings.Compare(a.Login(), b.Login()), strings.Compare(a.ID, b.ID))
	})
	if user != "" && len(tokens) == 0 {
		closest = cli.Closest(user, names)
	}
	return tokens, closest, err
}

// Logins returns the known logins of an account, or of all, by user and ID.
func (t Tokens) Logins(ctx context.Context, user string) ([]credentials.Login, error) {
	var logins []credentials.Login
	err := t.withStore(func(k *keptTokens) error {
		return k.records.Logins(ctx, user, func(login credentials.Login) bool {
			logins = append(logins, login)
			return true
		})
	})
	slices.SortFunc(logins, func(a, b credentials.Login) int {
		return cmp.Or(strings.Compare(a.User, b.User), strings.Compare(a.ID, b.ID))
	})
	return logins, err
}

// Revocation is what became of one ID, or of the logins of an account.
type Revocation struct {
	ID      string // "" = all logins
	Kind    credentials.Kind
	Login   string // "" = not known, or everybody's
	Already bool   // it was revoked before
	// Successor is the ID of a token that has replaced it, and that is still good; "" = none.
	Successor string
}

func revocationOf(t credentials.Token) Revocation {
	return Revocation{ID: t.ID, Kind: t.Kind, Login: t.Login()}
}

// Revoke takes tokens and logins back. What it returns is safe in the store. The error may be about
// IDs that no token has: the others are taken back all the same.
func (t Tokens) Revoke(ctx context.Context, reason string, ids ...string) (done []Revocation, err error) {
	err = t.withStore(func(k *keptTokens) error {
		done, err = k.revoke(ctx, reason, slices.Compact(slices.Sorted(slices.Values(ids))))
		return err
	})
	return done, err
}

func (k *keptTokens) revoke(ctx context.Context, reason string, ids []string) (done []Revocation, err error) {
	var unknown []string
	var failed error
	logins := k.loginsAmong(ctx, ids)
	for _, id := range ids {
		r := Revocation{ID: id, Kind: credentials.Refresh, Login: logins[id]}
		fields := []any{"credential", id, "kind", credentials.Refresh}
		if !credentials.IsRefreshID(id) {
			token, err := k.records.Get(ctx, id)
			switch {
			case errors.Is(err, credentials.ErrNotFound):
				unknown = append(unknown, id)
				continue
			case err != nil: // of this record, which may be damaged
				failed = errors.Join(failed, err)
				continue
			}
			r, fields = revocationOf(token), tokenFields(token)
			r.Already = token.Revoked != nil
		}
		if !r.Already {
			if err := k.records.Revoke(ctx, reason, id); err != nil {
				return done, errors.Join(failed, err)
			}
			k.log("token revoked", EventRevoked, append(fields, because(reason)...)...)
		}
		done = append(done, r)
	}
	for i, r := range done {
		done[i].Successor = k.goodSuccessor(ctx, r.ID)
	}
	if len(unknown) > 0 {
		failed = errors.Join(failed, unknownTokens(unknown))
	}
	return done, failed
}

// goodSuccessor is the ID of the token that has replaced one, unless it is revoked or over.
func (k *keptTokens) goodSuccessor(ctx context.Context, id string) string {
	if credentials.IsRefreshID(id) {
		return ""
	}
	token, err := k.records.Get(ctx, id)
	if err != nil || token.Replaced == "" {
		return ""
	}
	next, err := k.records.Get(ctx, token.Replaced)
	if err != nil || next.Revoked != nil || !time.Now().Before(next.Expires) {
		return ""
	}
	return next.ID
}

// loginsAmong finds whose logins some IDs are, as far as the store still knows them.
func (k *keptTokens) loginsAmong(ctx context.Context, ids []string) map[string]string {
	users := map[string]string{}
	if slices.ContainsFunc(ids, credentials.IsRefreshID) {
		_ = k.records.Logins(ctx, "", func(login credentials.Login) bool { // they are revoked all the same
			users[login.ID] = login.User
			return true
		})
	}
	return users
}

// RevokeUser takes back all that an account has of some kinds, and returns how many of its logins
// were known. The account need not exist any more. user may be the user name of a robot. With an
// error, what it returns was taken back nonetheless.
func (t Tokens) RevokeUser(ctx context.Context, reason, user string, kinds ...credentials.Kind) (done []Revocation,
	logins int, err error) {
	// A directory that is away must not keep a revocation from being done.
	account, lookUp := t.inspectAccount(user, nil)
	isAccount := lookUp != nil || account.UID >= 0
	names := []string{user} // tokens may bear the name as it is typed, which the directory had before
	if lookUp == nil && strings.EqualFold(account.Name, user) {
		names = []string{account.Name}
	} else if lookUp == nil {
		names = append(names, account.Name)
	}
	err = t.withStore(func(k *keptTokens) error {
		var failed, unknown error
		if !isAccount {
			done, unknown = k.revokeRobot(ctx, reason, user, kinds)
		}
		isRobot := len(done) > 0
		for _, name := range names {
			tokens, known, err := k.records.RevokeUser(ctx, name, reason, kinds...)
			for _, token := range tokens {
				done = append(done, revocationOf(token))
				k.logToken("token revoked", EventRevoked, token, because(reason)...)
			}
			logins += len(known)
			hadLogins := len(known) > 0 || err == nil && !isRobot
			if slices.Contains(kinds, credentials.Refresh) && hadLogins {
				done = append(done, Revocation{Kind: credentials.Refresh, Login: name})
				fields := []any{"kind", credentials.Refresh, "subject", name, "logins", len(known)}
				k.log("tokens revoked", EventRevoked, append(fields, because(reason)...)...)
			}
			failed = errors.Join(failed, err)
		}
		return errors.Join(failed, unknown)
	})
	return done, logins, err
}

// revokeRobot is for a name that is no account's. It may be that of a robot, whose tokens are taken
// back; or one that only the store knows, of an account that is gone. Any other is an error.
func (k *keptTokens) revokeRobot(ctx context.Context, reason, user string, kinds []credentials.Kind) (
	[]Revocation, error) {
	isKnown := false
	var robots, names []string
	note := func(name string) bool {
		isKnown = isKnown || strings.EqualFold(name, user)
		names = append(names, name)
		return true
	}
	err := errors.Join(
		k.records.List(ctx, func(token credentials.Token) bool {
			if strings.EqualFold(token.Login(), user) && token.Kind == credentials.Robot {
				robots = append(robots, token.ID)
			}
			note(token.User)
			return note(token.Login())
		}),
		k.records.Logins(ctx, "", func(login credentials.Login) bool { return note(login.User) }))
	switch {
	case len(robots) > 0 && slices.Contains(kinds, credentials.Robot):
		return k.revoke(ctx, reason, robots)
	case isKnown || err != nil: // what cannot be listed may have the name
		return nil, nil //nolint:nilerr // RevokeUser meets it too
	}
	hint := "dockerauth token list and dockerauth logins show the names"
	if name := cli.Closest(user, names); name != "" {
		hint = fmt.Sprintf("if %q is meant, give that name", name)
	}
	return nil, fmt.Errorf("nothing is known of %q: it is no account of this machine, and has no token or login\n  %s",
		user, hint)
}

// RevokeAll takes back what everybody has of some kinds. With an error, what it returns was taken
// back nonetheless.
func (t Tokens) RevokeAll(
	ctx context.Context,
	reason string,
	kinds ...credentials.Kind,
) (done []Revocation, err error) {
	err = t.withStore(func(k *keptTokens) error {
		tokens, err := k.records.RevokeAll(ctx, reason, kinds...)
		for _, token := range tokens {
			done = append(done, revocationOf(token))
			k.logToken("token revoked", EventRevoked, token, because(reason)...)
		}
		if err != nil {
			return err
		}
		for _, kind := range kinds {
			fields := []any{"kind", kind}
			if kind == credentials.Refresh {
				done = append(done, Revocation{Kind: kind})
			} else {
				fields = append(fields, "tokens", count(done, kind))
			}
			k.log("all tokens revoked", EventRevoked, append(fields, because(reason)...)...)
		}
		return nil
	})
	return done, err
}

func count(done []Revocation, kind credentials.Kind) (n int) {
	for _, r := range done {
		if r.Kind == kind {
			n++
		}
	}
	return n
}
