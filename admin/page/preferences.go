package page

func (p *Page) addPreferences() {}
