package command

// examineRegistry holds the registry's configuration against ours, and its trust against our tokens.
func (c *checkup) examineRegistry() {}
