package command

// examineRights finds out what the user may do as whom the service runs.
func (c *checkup) examineRights() {}
