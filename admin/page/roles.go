package page

func (p *Page) addRoles() {}
