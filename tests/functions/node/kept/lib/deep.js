require('https');
