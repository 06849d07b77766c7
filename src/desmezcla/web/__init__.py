"""What the web pages share: who may enter, how pages are made and answered, how to serve them."""
