package config

// The keys, by section, in the order of config.yml.dist.
var (
	topKeys = []string{"private_key", "issuer", "audience", "blacklisted_users", "certificate", "key_id",
		"previous_keys", "access_token_ttl", "refresh_token_ttl", "trusted_proxies", "state", "passwords", "pam", "log",
		"access"}
	passwordsKeys = []string{"allow", "except"}
	pamKeys       = []string{"service", "confdir", "timeout", "concurrency", "cache"}
	logKeys       = []string{"file", "format", "level"}
)

// ruleKeys are the keys of one rule in the section access.
var ruleKeys = []string{"allow", "repositories", "to", "from", "services", "types", "min_gid"}
