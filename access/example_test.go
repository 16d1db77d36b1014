package access_test

import (
	"fmt"

	"dockerauth/access"
)

func ExamplePolicy_Grant() {
	policy, errs := access.NewPolicy([]access.Rule{
		{Allow: []string{"pull"}, Repositories: []string{"public/**"}, To: []string{"anyone"}},
		{Allow: []string{"push"}, Repositories: []string{"{user}/**"}, To: []string{"users"}},
	})
	if len(errs) > 0 {
		fmt.Println(errs[0])
		return
	}
	requested, _, err := access.ParseScopes(
		[]string{"repository:alice/app:pull,push", "repository:public/app:pull,push"},
	)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(access.Format(policy.Grant(access.Client{Name: "alice"}, requested)))
	fmt.Println(access.Format(policy.Grant(access.Client{}, requested)))
	// Output:
	// repository:alice/app:pull,push repository:public/app:pull
	// repository:public/app:pull
}
