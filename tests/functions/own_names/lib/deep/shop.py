class Shop:
    def order(self, event):
        return "ordered"


shop = Shop()
