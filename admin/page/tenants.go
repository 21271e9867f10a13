package page

func (p *Page) addTenants() {}
