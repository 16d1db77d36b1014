package access

// Passwords says which accounts get tokens for their password. The others need a credential that
// can be taken back. The zero value is all accounts.
type Passwords struct {
	TokensOnly bool      // no account
	Except     Blacklist // the accounts, and "@name" for groups, for which it is the other way round
}

// Allow reports whether an account may use its password.
func (p Passwords) Allow(name string, groups []Group) bool {
	return p.TokensOnly == (p.Except.Find(name, groups) != "")
}
