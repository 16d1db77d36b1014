package doctor

import (
	"fmt"

	"dockerauth/access"
	"dockerauth/config"
)

// examineRules warns of rules that no request can match: somebody is refused for no visible reason.
func (c *checkup) examineRules(cfg *config.Config) {
	if cfg.Access == nil {
		c.ok("config", "there is no section access: every account gets the access that it asks for")
		return
	}
	for _, flaw := range cfg.Access.Flaws(cfg.BlacklistedUsers, cfg.Audience) {
		place := fmt.Sprintf("%s:%d", cfg.Path, flaw.Line)
		if flaw.Line == 0 {
			place = fmt.Sprintf("%s:%d", cfg.Path, cfg.Line("access"))
		}
		remedy := fmt.Sprintf("correct it in the rule at %s, or delete it", place)
		switch {
		case flaw.Kind == access.FlawNoRules:
			remedy = fmt.Sprintf("write at %s: %s", place, flaw.Write)
		case flaw.Kind == access.FlawNobody:
			remedy = fmt.Sprintf("take it out of blacklisted_users at %s:%d, or delete the rule at %s", cfg.Path,
				cfg.Line("blacklisted_users"), place)
		case flaw.Write != "":
			remedy = fmt.Sprintf("write %q in its place, in the rule at %s", flaw.Write, place)
		}
		c.warnAs("config.access", flaw.Kind, place+": "+flaw.What+" matches no request", flaw.Why, remedy)
	}
}
