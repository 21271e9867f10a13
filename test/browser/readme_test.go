package browser

import (
	"bytes"
	"fmt"
	"image"
	"image/color"
	"image/draw"
	"image/png"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"sort"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/require"
)

// picturesEnv names the directory that `make screenshots` has the README's pictures
// written to.
const picturesEnv = "KEYREEVE_README_PICTURES"

// pictureLimit bounds a picture in the repository, in bytes.
const pictureLimit = 150_000

// shop makes what the pictures show: the keys of a shop, the same each time.
func (d *demo) shop(t *testing.T) {
	t.Helper()
	in := func(days int) string { return time.Now().AddDate(0, 0, days).UTC().Format(time.RFC3339) }
	prod, test := map[string]string{"env": "prod"}, map[string]string{"env": "test"}
	for _, k := range []struct {
		body             map[string]any
		used, off, wrong bool
	}{
		{body: map[string]any{"name": "Billing export", "description": "Runs at the end of each month", "labels": prod, "expires_at": in(12)}, used: true},
		{body: map[string]any{"name": "CI deploys", "role_id": "role_api_full_access", "labels": prod}, used: true},
		{body: map[string]any{"name": "Data lake", "labels": prod, "session_validity_seconds": 900}, used: true},
		{body: map[string]any{"name": "Edge probe", "microtenant_id": d.MicrotenantID, "labels": test}},
		{body: map[string]any{"name": "Grafana", "description": "Dashboards of all teams", "labels": prod}, used: true},
		{body: map[string]any{"name": "Jenkins (old)", "labels": prod}, off: true},
		{body: map[string]any{"name": "Partner: Acme", "description": "Reads orders, nothing else", "expires_at": in(200)}, used: true, wrong: true},
		{body: map[string]any{"name": "Terraform", "role_id": "role_api_full_access", "labels": test}},
	} {
		made := d.createKey(t, k.body)
		clientID, secret := made["client_id"].(string), made["client_secret"].(string)
		if k.used {
			require.NotEqual(t, http.StatusUnauthorized, d.call(t, clientID, secret))
		}
		if k.off {
			d.api(t, http.MethodPatch, "/v1/keys/"+made["id"].(string), map[string]any{"enabled": false})
		}
		if k.wrong {
			d.lock(t, clientID)
		}
	}
}

// The pictures of the README: what anybody sees at the same steps.
func TestThePicturesOfTheReadme(t *testing.T) {
	dir := os.Getenv(picturesEnv)
	if dir == "" {
		t.Skip("make screenshots does this")
	}
	d := startDemo(t)
	d.shop(t)
	b := openTab(t)
	b.signIn(d)
	b.click("#fold")
	b.until(`document.getElementById('fold').textContent.includes('Show filters')`)
	b.open(d.AdminURL + "/keyreeve/keys?" + url.Values{"columns": {"name,state,role_id,last_used_at,expires_at,labels"}}.Encode())
	b.until(inSight("tbody .why time[data-countdown]"))
	b.until(`[...document.querySelectorAll('[id^=used-]')].filter(e => /ago|now/.test(e.textContent)).length > 3`) // its poll tells of the uses
	b.take(dir, "keys.png", 800)

	b.open(d.AdminURL + "/keyreeve/keys")
	b.press("n")
	b.until(dialogOpen + ` && document.activeElement.id === 'f-name'`)
	b.fill("#f-name", "Nightly report")
	b.click("#role-role_api_read_only")
	b.click("#create-key")
	b.until(`document.getElementById('shown-secret')`)
	b.until(`[...document.querySelectorAll('.key-name')].some(e => e.textContent === 'Nightly report')`)
	b.take(dir, "secret.png", 800)
}

// take writes what is in sight in 256 colours, which a page's are nearly anyway.
func (b *tab) take(dir, name string, height int64) {
	b.Helper()
	b.do(chromedp.EmulateViewport(1280, height))
	b.until(`(document.documentElement.style.scrollbarGutter = 'auto')`) // there is no scrollbar here to keep it for
	b.ready()
	var shot []byte
	b.do(chromedp.CaptureScreenshot(&shot))
	full, err := png.Decode(bytes.NewReader(shot))
	require.NoError(b, err)
	var out bytes.Buffer
	require.NoError(b, (&png.Encoder{CompressionLevel: png.BestCompression}).Encode(&out, fewColours(full)))
	require.Less(b, out.Len(), pictureLimit, "%s is %d bytes", name, out.Len())
	require.NoError(b, os.MkdirAll(dir, 0o755))
	require.NoError(b, os.WriteFile(filepath.Join(dir, name), out.Bytes(), 0o644))
	fmt.Println(filepath.Join(dir, name), out.Len(), "bytes")
}

// fewColours is a picture in the 256 colours that it has most of.
func fewColours(full image.Image) *image.Paletted {
	count := map[color.Color]int{}
	for y := full.Bounds().Min.Y; y < full.Bounds().Max.Y; y++ {
		for x := full.Bounds().Min.X; x < full.Bounds().Max.X; x++ {
			count[color.RGBAModel.Convert(full.At(x, y))]++
		}
	}
	var palette color.Palette
	for c := range count {
		palette = append(palette, c)
	}
	sort.Slice(palette, func(i, j int) bool { return count[palette[i]] > count[palette[j]] })
	few := image.NewPaletted(full.Bounds(), palette[:min(len(palette), 256)])
	draw.Draw(few, full.Bounds(), full, full.Bounds().Min, draw.Src)
	return few
}
