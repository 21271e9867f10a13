package page

func (p *Page) addSecrets() {}
