package browser
import ("testing";"fmt")
func TestH3Tmp(t *testing.T) {
	d := startDemo(t)
	made := d.createKey(t, map[string]any{"name": "Billing export"})
	b := openTab(t)
	b.signIn(d)
	b.open(d.AdminURL + "/keyreeve/keys/" + made["id"].(string)+"?method=POST&path=%2Fmgmtconfig%2Fv1%2Fadmin%2Fcustomers%2F"+d.CustomerID+"%2Fapplication")
	b.look(360, "light")
	fmt.Println(eval[int64](b,`document.documentElement.scrollWidth`)); fmt.Println(eval[[]string](b, `[...document.querySelectorAll('main *')].filter(e => e.getBoundingClientRect().right > innerWidth + 1).slice(0,20).map(e => e.tagName + '.' + e.className + ' ' + e.getBoundingClientRect().right + ' ' + e.textContent.trim().slice(0,60))`))
}
