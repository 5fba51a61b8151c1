"""Words of the sample catalog: titles, brands and prices of products, words in pictures."""
