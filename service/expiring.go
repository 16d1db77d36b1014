package service

import (
	"context"
	"slices"
	"strings"
	"time"

	"dockerauth/credentials"
	"dockerauth/store"
)

// ExpiringTokens returns the kept tokens in a folder or at a server that are in use and end soon,
// the first to end first.
func ExpiringTokens(place string) (soon []credentials.Token, err error) {
	shared, err := new(state).openShared(place)
	if err != nil {
		return nil, err
	}
	defer shared.Close()
	if folder, ok := shared.(*store.Folder); ok && !folder.HasKept() {
		return nil, nil // it would be made
	}
	now := time.Now()
	records := credentials.Records{Kept: shared.Kept(), Counters: shared.Counters()}
	err = records.List(context.Background(), func(t credentials.Token) bool {
		if t.Revoked == nil && t.Replaced == "" && t.Expires.After(now) && t.ExpiresSoon(now) {
			soon = append(soon, t)
		}
		return true
	})
	slices.SortFunc(soon, func(a, b credentials.Token) int {
		if c := a.Expires.Compare(b.Expires); c != 0 {
			return c
		}
		return strings.Compare(a.ID, b.ID)
	})
	return soon, err
}
