f
test_histogram2Test histogram 2"?:9zØ]{´û'"K?VŒ¸j@ø·'’>è9øÑd3ø0à≠K