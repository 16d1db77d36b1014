package doctor

import (
	"fmt"
	"os/user"
	"strconv"
	"strings"
)

func userName(uid int) string {
	if u, err := user.LookupId(fmt.Sprint(uid)); err == nil {
		return u.Username
	}
	return fmt.Sprint("uid ", uid)
}

func groupName(gid int) string {
	if group, err := user.LookupGroupId(fmt.Sprint(gid)); err == nil {
		return group.Name
	}
	return fmt.Sprint("gid ", gid)
}

// likelyUser is a guess, for the hint alone.
func likelyUser() string {
	for _, name := range []string{"dockerauth", "www-data", "apache", "nginx"} {
		if _, err := user.Lookup(name); err == nil {
			return name
		}
	}
	return "USER"
}

// groupForCommands is a group as chgrp and install take it: a name or a number.
func groupForCommands(gid int) string { return strings.TrimPrefix(groupName(gid), "gid ") }

func groupsOfAccount(account *user.User) (ids []int) {
	texts, err := account.GroupIds()
	if err != nil {
		return nil // the directory cannot be reached; what the user may do is tried anyway
	}
	for _, text := range texts {
		id, _ := strconv.Atoi(text)
		ids = append(ids, id)
	}
	return ids
}
