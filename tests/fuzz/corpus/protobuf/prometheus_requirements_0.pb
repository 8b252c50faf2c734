f
test_histogram1Test histogram 1"?:9zØ]{´û'"K?VŒ¸j@ø·'’>è9øÑd3ø0à≠K