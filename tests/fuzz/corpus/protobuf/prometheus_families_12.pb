B
without_quantilesA summary without quantiles.""*X9´Èv¾ó?