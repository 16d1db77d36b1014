package command

// examineURL asks the running endpoint through the web server, as docker would.
func (c *checkup) examineURL() {}
